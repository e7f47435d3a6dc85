"""Which documents of a source a job keeps, normalised as it says: none that is too short, none that its filter leaves
out, no copy of an earlier one. All of those are counted."""

import dataclasses
import re
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

from runjob.data.corpus import Corpus, Part
from runjob.data.documents import Document
from runjob.data.duplicates import Copies, find_copies
from runjob.data.labels import carry
from runjob.data.normalize import NOTHING, Aligned, Normalizer
from runjob.data.store import LeftOut
from runjob.schemas.job_data import Filter

NOT_NORMALIZED = Normalizer(NOTHING, terms=())


class Selection:
    """The kept documents of a corpus, in its order; `left_out` counts the others as far as has been read."""

    def __init__(
        self,
        corpus: Corpus,
        *,
        normalize: Callable[[str], str],
        min_length: int,
        filter: Filter,
        align: Callable[[str], Aligned] = NOT_NORMALIZED.align,
    ) -> None:
        """`align`: the same as `normalize` where spans have to be carried along."""
        self.corpus = corpus
        self._normalize = normalize
        self._align = align
        self._min_length = min_length
        self._keep = _compiled(filter.keep)
        self._drop = _compiled(filter.drop)
        self._emptied = 0
        self._short = 0
        self._filtered = 0
        self._duplicates = 0
        self.copies: Copies | None = None  # of whom all but the first are left out; None leaves them in

    @property
    def left_out(self) -> LeftOut:
        return LeftOut(
            bad=self.corpus.bad,
            empty=self.corpus.empty + self._emptied,
            short=self._short,
            filtered=self._filtered,
            duplicates=self._duplicates,
        )

    def documents(self) -> Iterator[tuple[Part, Document]]:
        self._duplicates = 0
        for number, found in enumerate(self._fitting()):
            if self.copies is not None and number in self.copies:
                self._duplicates += 1
            else:
                yield found

    def leave_out_copies(self, *, scratch: Path, advance: Callable[[], None]) -> Copies:
        """Read everything once to learn which documents are copies; from here on they are left out."""
        self.copies = find_copies(self._told(advance), scratch=scratch)
        return self.copies

    def _told(self, advance: Callable[[], None]) -> Iterator[str]:
        for _, document in self._fitting():
            advance()
            found = document.labelled
            # no text holds a NUL; one that says the same and is labelled otherwise is no copy
            # and of two texts that belong together either both are copies or none is
            mate = "" if found is None or found.mate is None else f"{found.mate}\0"
            yield document.text if found is None else f"{document.text}\0{mate}{found.number}{found.spans}"

    def _fitting(self) -> Iterator[tuple[Part, Document]]:
        self._short = self._filtered = self._emptied = 0
        for part, document in self.corpus.documents():
            document = self._normalized(document)
            if not document.text or (document.labelled is not None and document.labelled.mate == ""):
                self._emptied += 1
            elif len(unmarked := document.unmarked) < self._min_length:
                self._short += 1
            elif self._unwanted(unmarked):
                self._filtered += 1
            else:
                yield part, document

    def _normalized(self, document: Document) -> Document:
        if document.labelled is None:
            text = self._normalize(document.text)
            return document if text is document.text else document._replace(text=text)
        if document.labelled.number is not None:  # its marks are words of the text, and nothing counts its characters
            text = self._normalize(document.text)
            whole = None if document.labelled.whole is None else self._normalize(document.labelled.whole)
            mate = None if document.labelled.mate is None else self._normalize(document.labelled.mate)
            labelled = dataclasses.replace(document.labelled, text=text, whole=whole, mate=mate)
            return Document(text=text, origin=document.origin, labelled=labelled)
        aligned = self._align(document.text)
        labelled = carry(document.labelled.spans, aligned.spans, aligned.text)
        return Document(text=aligned.text, origin=document.origin, labelled=labelled)

    def _unwanted(self, text: str) -> bool:
        without_keep = self._keep is not None and self._keep.search(text) is None
        return without_keep or (self._drop is not None and self._drop.search(text) is not None)


def _compiled(pattern: str | None) -> re.Pattern[str] | None:
    if pattern is None:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what a later Python may read otherwise; the rules have judged it
        return re.compile(pattern)
