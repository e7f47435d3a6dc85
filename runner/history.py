"""What a run wrote about itself over time, read once: train and eval records by step, and the stretch of each attempt.

Time here is working time. The pauses between attempts are left out; what an attempt did beyond the checkpoint that the
next one started from counts, since somebody waited for it, though its records lie in attempts/N/discarded.jsonl.
"""

import json
import statistics
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from runjob.schemas.errors import RunjobError
from runjob.schemas.run import RunDir

Record = dict[str, Any]
# Of every record, and no measurement
COMMON = frozenset({"event", "step", "time", "attempt"})


@dataclass(frozen=True, kw_only=True)
class Stretch:
    """One attempt: the step it began at, the last one it recorded, how many records of it were taken back, and the
    seconds from its `start` to its last word."""

    attempt: int
    first_step: int
    last_step: int
    taken_back: int
    began: float
    seconds: float


@dataclass(frozen=True, kw_only=True)
class History:
    """`others`: every record that is neither train nor eval, in the order of the file."""

    train: tuple[Record, ...]
    evals: tuple[Record, ...]
    others: tuple[Record, ...]
    stretches: tuple[Stretch, ...]

    def of(self, kind: str) -> list[Record]:
        return [record for record in self.others if record["event"] == kind]

    def newest(self, kind: str) -> Record:
        """The last record of a kind; an empty one if there is none."""
        return next(iter(reversed(self.of(kind))), {})

    def working_seconds(self, record: Record) -> float:
        """How long had been worked when this was recorded."""
        earlier = sum(one.seconds for one in self.stretches if one.attempt < record["attempt"])
        began = next((one.began for one in self.stretches if one.attempt == record["attempt"]), record["time"])
        return earlier + float(record["time"]) - began

    def tokens_at(self, record: Record) -> int | None:
        """Tokens that had gone in when something was recorded: of a train record its own, of others by the steps
        around. None where no record tells, as of runs older than the count."""
        if "tokens" in record:
            return int(record["tokens"])
        steps, tokens = self._tokens_by_step
        if len(steps) == 1 and self.train:
            return None
        step = int(record["step"])
        after = bisect_right(steps, step)
        if after == len(steps):
            return tokens[-1]
        share = (step - steps[after - 1]) / (steps[after] - steps[after - 1])
        return round(tokens[after - 1] + share * (tokens[after] - tokens[after - 1]))

    @cached_property
    def _tokens_by_step(self) -> tuple[list[int], list[int]]:
        counted = [record for record in self.train if "tokens" in record]
        return [0, *(int(record["step"]) for record in counted)], [0, *(int(record["tokens"]) for record in counted)]

    @property
    def seconds(self) -> float:
        return sum(one.seconds for one in self.stretches)

    @property
    def tokens_per_s(self) -> float | None:
        """The median of the steps that were recorded: an evaluation or a busy minute moves it little."""
        rates = [record["tokens_per_s"] for record in self.train if "tokens_per_s" in record]
        return statistics.median(rates) if rates else None


def read_history(run: RunDir) -> History:
    """RunjobError names the file that holds something else than records."""
    records = _records(run)
    kinds: dict[str, list[Record]] = {"train": [], "eval": []}
    others: list[Record] = []
    for record in records:
        kinds.get(record["event"], others).append(record)
    return History(
        train=tuple(kinds["train"]),
        evals=tuple(kinds["eval"]),
        others=tuple(others),
        stretches=tuple(_stretches(records, _discarded(run))),
    )


def _records(run: RunDir) -> list[Record]:
    try:
        found = list(run.read_events())
        for record in found:
            record["event"], record["step"], record["time"], record["attempt"]
    except (ValueError, KeyError, TypeError) as error:
        raise RunjobError(f"{run.events}: holds something else than records of a run: {error!r}") from error
    return found


def _discarded(run: RunDir) -> list[Record]:
    """What attempts did and the next one did again. News and not truth: a line that can't be read is passed over."""
    found = []
    for attempt in run.list_attempts():
        lines = attempt.discarded.read_bytes().splitlines() if attempt.discarded.exists() else []
        for line in lines:
            try:
                record = json.loads(line)
            except ValueError:
                continue
            if isinstance(record, dict) and record.keys() >= COMMON:
                found.append(record)
    return found


def _stretches(records: Sequence[Record], discarded: Sequence[Record]) -> Iterable[Stretch]:
    kept: dict[int, list[Record]] = {}
    lost: dict[int, list[Record]] = {}
    for record in records:
        kept.setdefault(record["attempt"], []).append(record)
    for record in discarded:
        lost.setdefault(record["attempt"], []).append(record)
    for attempt in sorted({*kept, *lost}):
        stayed = kept.get(attempt, [])
        gone = lost.get(attempt, [])
        times = [float(record["time"]) for record in [*stayed, *gone]]
        steps = [int(record["step"]) for record in [*stayed, *gone]]
        yield Stretch(
            attempt=attempt,
            first_step=steps[0],
            last_step=max(steps),
            taken_back=len({record["step"] for record in gone if record["event"] == "train"}),
            began=min(times),
            seconds=max(times) - min(times),
        )
