"""The progress bar of a terminal. rich is imported here alone, and only when somebody watches."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

from runjob.runner.lines import event_line
from runjob.schemas.run import Status


class Bar:
    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task = progress.add_task("waiting", total=None, facts="")
        self._eval = ""

    def status(self, status: Status, *, note: str) -> None:
        text = status.message.removeprefix("stage ") or status.state
        self._progress.update(self._task, description=escape(text if status.state == "running" else status.state))
        if note:
            self._progress.update(self._task, facts=escape(note))

    def event(self, record: dict[str, Any], *, steps: int | None) -> None:
        if record["event"] == "train":
            facts = [f"loss {record['loss']:.4f}", self._eval, f"{record['tokens_per_s']:,.0f} tokens/s"]
            # the share of the step in which training stood still for want of data
            facts.append(f"data wait {record['data_wait']:.0%}" if "data_wait" in record else "")
            self._progress.update(
                self._task, completed=record["step"], total=steps, facts="  ".join(filter(None, facts))
            )
            return
        if record["event"] == "eval":
            self._eval = f"eval {record['loss']:.4f}"
        line = event_line(record, steps=steps)
        if line is not None:
            self._progress.console.print(line, highlight=False, markup=False)

    @contextmanager
    def paused(self) -> Iterator[None]:
        self._progress.stop()
        try:
            yield
        finally:
            self._progress.start()


@contextmanager
def open_bar() -> Iterator[Bar]:
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TextColumn("{task.fields[facts]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(), transient=True) as progress:
        yield Bar(progress)
