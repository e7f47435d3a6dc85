"""Everything that a job writes, line by line, each line once: what `runjob logs` shows and Python's `logs` gives."""

from collections.abc import Iterator
from pathlib import Path

from runjob.launchers.torchrun_report import WithoutOrderlyEnds
from runjob.runner.lines import event_line
from runjob.runner.runs import bring_logs, planned_steps, read_progress
from runjob.runner.tail import EventTail, LogTail
from runjob.schemas.run import RunDir, Status


class RunTail:
    """From one attempt on; attempts that its place makes by itself are followed on."""

    def __init__(self, run: RunDir, *, since: int) -> None:
        self.run = run
        self.since = since
        self.events = EventTail(run.events)
        self.logs: dict[Path, LogTail] = {}
        self.reports: dict[Path, WithoutOrderlyEnds] = {}

    def new_lines(self, rank: int | None, status: Status) -> Iterator[str]:
        """What was written since the last look: preparation, training step by step, then what rank 0 and torchrun said;
        or one rank's own output."""
        attempts = [attempt for attempt in self.run.list_attempts() if attempt.number >= self.since]
        bring_logs(self.run, attempts[-1], status)
        if rank is not None:
            for attempt in attempts:
                yield from self._new(attempt.rank_log(rank))
            return
        for attempt in attempts:
            yield from self._new(attempt.stage_log("prepare"))
        steps = planned_steps(self.run, read_progress(self.run))
        records = [record for record in self.events.read() if record["attempt"] >= self.since]
        yield from filter(None, (event_line(record, steps=steps) for record in records))
        for attempt in attempts:
            yield from self._new(attempt.rank_log(0))
            log = attempt.stage_log("train")
            yield from self.reports.setdefault(log, WithoutOrderlyEnds())(self._new(log))

    def _new(self, path: Path) -> Iterator[str]:
        if path in self.logs or path.exists():
            yield from self.logs.setdefault(path, LogTail(path)).read()
