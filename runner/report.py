"""`runjob report`: what is known of some runs, gathered from their directories, as one HTML page that asks nobody for
anything. Here it is gathered and written; report_page.py and report_tables.py say how it looks, report.js draws.
"""

import importlib.util
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runjob.runner.history import History
from runjob.runner.run_facts import Facts, Seen, facts_of
from runjob.runner.why.answer import answer, as_text
from runjob.schemas.errors import JobError, MissingError, RunjobError
from runjob.schemas.json_object import read_object
from runjob.schemas.run import RunDir, Status, created_at, write_atomic

# The first words of a report, by which one is known that may be written over
GENERATOR = '<meta name="generator" content="runjob report">'
HEAD_BYTES = 1000
PLOTLY = Path("package_data", "plotly.min.js")


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A text that the model made of a prompt, as `runjob generate` and `fill-mask` left it."""

    prompt: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Reported:
    """One run of a report. `store`: what store.json says of the prepared data, empty where they are not here."""

    id: str
    created: float
    status: Status
    history: History
    facts: Facts
    why: str
    ends: tuple[str, ...]
    store: dict[str, Any]
    statistics: dict[str, Any]
    samples: tuple[Sample, ...]


def gather(seen: Sequence[Seen]) -> list[Reported]:
    return [_gather_one(one) for one in seen]


def _gather_one(seen: Seen) -> Reported:
    run, status, history = seen.run, seen.status, seen.history
    return Reported(
        id=run.id,
        created=created_at(run.path),
        status=status,
        history=history,
        facts=facts_of(seen),
        why=as_text(answer(run, status)),
        ends=tuple(_end(run, stretch.attempt, status) for stretch in history.stretches),
        store=_store(run),
        statistics=read_object(run.statistics),
        samples=tuple(_samples(run)),
    )


def _end(run: RunDir, number: int, status: Status) -> str:
    """How an attempt ended, in its own words where it came to say any."""
    if number == status.attempt:
        return f"{status.state}: {status.message}" if status.message else status.state
    said = run.attempt(number).read_exit()
    return "ended without a word" if said is None else ": ".join(filter(None, (said.outcome, said.reason)))


def _store(run: RunDir) -> dict[str, Any]:
    """Of this very run's data: a store of another fingerprint says nothing about it."""
    prepared = read_object(run.data)
    if "store" not in prepared or "fingerprint" not in prepared:
        return {}
    found = read_object(Path(prepared["store"]) / "store.json")
    return found if found.get("fingerprint") == prepared["fingerprint"] else {}


def _samples(run: RunDir) -> list[Sample]:
    if not run.samples.exists():
        return []
    try:
        rows = [json.loads(line) for line in run.samples.read_text(encoding="utf-8").splitlines()]
        return [Sample(prompt=row["prompt"], text=row["text"]) for row in rows]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunjobError(f"{run.samples}: holds something else than samples: {error!r}; remove it") from error


def read_plotly() -> str:
    """The library's own file, which it ships for pages without a network. Found and not imported: importing it would
    take longer than all the rest."""
    spec = importlib.util.find_spec("plotly")
    for place in [] if spec is None else spec.submodule_search_locations or []:
        if (Path(place) / PLOTLY).is_file():
            return (Path(place) / PLOTLY).read_text(encoding="utf-8")
    raise MissingError("the plots of a report are drawn by Plotly, which is not here: pip install 'runjob[report]'")


def write_report(target: Path, page: str) -> None:
    """JobError for a file that is there and is no report: it may be the only copy of something."""
    if target.is_dir():
        raise JobError(f"-o {target}: is a directory; name a file, such as {target / 'report.html'}")
    if not target.absolute().parent.is_dir():
        raise JobError(f"-o {target}: there is no directory {target.absolute().parent}")
    if target.exists() and GENERATOR not in _head(target):
        raise JobError(f"-o {target}: is there already and is no report of runjob's; name another file")
    write_atomic(target, page)


def _head(path: Path) -> str:
    with path.open("rb") as file:
        return file.read(HEAD_BYTES).decode("utf-8", errors="replace")


def day_and_time(moment: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(moment))
