"""How far a preparation is, told as often as a progress bar can show it and no oftener."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from runjob.data.corpus import Corpus

REPORT_EVERY_S = 0.2

Stage = Literal["reading", "waiting", "looking for copies", "training the tokenizer", "tokenising", "checking", "done"]


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far one stage is; the bytes are those of the source (packed ones, where files are packed)."""

    stage: Stage
    done_bytes: int
    total_bytes: int
    documents: int
    tokens: int
    seconds: float
    note: str

    @property
    def tokens_per_s(self) -> float:
        return self.tokens / self.seconds if self.seconds else 0.0

    @property
    def bytes_per_s(self) -> float:
        return self.done_bytes / self.seconds if self.seconds else 0.0


class Reporter:
    """Counts within a stage and passes it on; every stage's beginning and end are always told."""

    def __init__(self, report: Callable[[Progress], None], source: Corpus) -> None:
        self._report = report
        self._source = source
        self._stage: Stage = "reading"
        self._documents = 0
        self._tokens = 0
        self._began = self._told = time.perf_counter()

    def begin(self, stage: Stage) -> None:
        self._stage, self._documents, self._tokens = stage, 0, 0
        self._began = time.perf_counter()
        self._source.done = 0
        self._tell(note="")

    def advance(self, *, documents: int, tokens: int) -> None:
        self._documents += documents
        self._tokens += tokens
        if time.perf_counter() - self._told >= REPORT_EVERY_S:
            self._tell(note="")

    def end(self) -> None:
        self._tell(note="")

    def waiting(self, owner: str) -> None:
        """Another process is building the same store."""
        self._stage = "waiting"
        self._tell(note=f"for {owner}, which prepares the same data")

    def _tell(self, *, note: str) -> None:
        self._told = time.perf_counter()
        self._report(
            Progress(
                stage=self._stage,
                done_bytes=self._source.done,
                total_bytes=self._source.total,
                documents=self._documents,
                tokens=self._tokens,
                seconds=self._told - self._began,
                note=note,
            )
        )
