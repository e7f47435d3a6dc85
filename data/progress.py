"""How far a preparation is, told as often as a progress bar can show it and no oftener."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from runjob.data.corpus import Corpus
from runjob.data.downloads import Fetching

REPORT_EVERY_S = 0.2

Stage = Literal[
    "fetching",
    "reading",
    "waiting",
    "looking for copies",
    "training the tokenizer",
    "finding the place again",
    "tokenising",
    "checking",
    "done",
]


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far one stage is; the bytes are those that it goes through (packed ones, where files are packed).

    `share` of its work is done, None where nobody knows how much there is. `share_before` was done when it began:
    by an earlier process, so it is no part of any rate.
    """

    stage: Stage
    done_bytes: int
    total_bytes: int
    documents: int
    tokens: int
    seconds: float
    note: str
    share: float | None
    share_before: float

    @property
    def tokens_per_s(self) -> float:
        return self.tokens / self.seconds if self.seconds else 0.0

    @property
    def bytes_per_s(self) -> float:
        return (self.done_bytes - self.share_before * self.total_bytes) / self.seconds if self.seconds else 0.0

    @property
    def left_s(self) -> float | None:
        """Seconds to the end of this stage at its rate so far; None where that can't be known."""
        if self.share is None or self.share <= self.share_before:
            return None
        return self.seconds * (1 - self.share) / (self.share - self.share_before)


def fetching(file: Fetching) -> Progress:
    """A download as a stage of its own."""
    share = file.done / file.total if file.total else None
    return Progress(
        stage="fetching",
        done_bytes=file.done,
        total_bytes=file.total or 0,
        documents=0,
        tokens=0,
        seconds=file.seconds,
        note=f"{file.url} {file.note}".strip(),
        share=share,
        share_before=file.begun / file.total if file.total else 0.0,
    )


class Reporter:
    """Counts within a stage and passes it on; every stage's beginning and end are always told."""

    def __init__(self, report: Callable[[Progress], None], corpus: Corpus) -> None:
        self._report = report
        self._corpus = corpus
        self._stage: Stage = "reading"
        self._documents = self._tokens = self._done = self._total = 0
        self._share: float | None = None
        self._share_before = 0.0
        self._began = self._told = time.perf_counter()

    def begin(self, stage: Stage, *, total_bytes: int | None = None, done_bytes: int = 0, share: float = 0.0) -> None:
        """A stage over the corpus, or over other bytes; `share` of it and `done_bytes` are done already."""
        self._stage, self._documents, self._tokens = stage, 0, 0
        self._total = self._corpus.total if total_bytes is None else total_bytes
        self._done, self._share, self._share_before = done_bytes, share, share
        self._corpus.done = 0
        self._began = time.perf_counter()
        self._tell(note="")

    def advance(self, *, documents: int, tokens: int) -> None:
        """So many more, as far as the corpus has been read."""
        self.reach(self._corpus.done, documents=documents, tokens=tokens)

    def read(self, count: int) -> None:
        """So many bytes more of a stage that knows no documents."""
        self.reach(self._done + count, documents=0, tokens=0)

    def reach(self, done_bytes: int, *, documents: int, tokens: int, share: float = 0.0) -> None:
        """The stage has come so far in bytes, or so far by another measure, whichever is more of it."""
        self._documents += documents
        self._tokens += tokens
        self._done = done_bytes
        self._share = max(share, min(1.0, done_bytes / self._total)) if self._total else None
        if time.perf_counter() - self._told >= REPORT_EVERY_S:
            self._tell(note="")

    def end(self) -> None:
        self._tell(note="")

    def last_part(self, note: str) -> None:
        """All is read, and what is still to be done takes nobody knows how long."""
        self._share = None
        self._tell(note=note)

    def waiting(self, owner: str) -> None:
        """Another process is building the same store."""
        self._stage, self._share = "waiting", None
        self._tell(note=f"for {owner}, which prepares the same data")

    def _tell(self, *, note: str) -> None:
        self._told = time.perf_counter()
        self._report(
            Progress(
                stage=self._stage,
                done_bytes=self._done,
                total_bytes=self._total,
                documents=self._documents,
                tokens=self._tokens,
                seconds=self._told - self._began,
                note=note,
                share=self._share,
                share_before=self._share_before,
            )
        )
