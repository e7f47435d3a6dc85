"""Rows for a network that reads from both sides: text between the tokenizer's marks, some of it hidden.

    pack     [CLS] L - 2 tokens of the stream [SEP]     documents follow one another, an end-of-document token between
    lines    [CLS] document [SEP]                       a longer one in several rows (or only its first)

Each row is framed, as a text is when the finished model reads it; packed rows run on over the borders of documents
(RoBERTa's FULL-SENTENCES: Liu et al. 2019, section 4.2), unless the job keeps them apart. A tokenizer that has no such
marks gives rows without.
"""

from typing import Any

import numpy as np

from runjob.data.characters import MASK, replacements, sample_characters, special_points
from runjob.data.corruptions import Ints, Masking, corrupt
from runjob.data.rows import Row, Rows
from runjob.data.store import Side, TokenizerSummary
from runjob.data.words import table_size, word_boundaries
from runjob.schemas.errors import JobError
from runjob.schemas.job_model import MaskedLM


class MaskedRows:
    """The rows of `texts`, whose labels are the text itself, framed and corrupted. `position` keys what is hidden while
    training, anew in every epoch; without one the row's number does, and every evaluation hides the same."""

    def __init__(self, texts: Rows, tokenizer: TokenizerSummary, masking: Masking, *, seed: int) -> None:
        self._texts = texts
        self._before = mark(tokenizer.cls_id)
        self._after = mark(tokenizer.sep_id)
        self._masking = masking
        self._seed = seed
        self.sequence_length = texts.sequence_length + len(self._before) + len(self._after)
        self.sections = texts.sections
        self.bucketed = texts.bucketed
        self.bytes = texts.bytes

    def __len__(self) -> int:
        return len(self._texts)

    def lengths(self, numbers: Ints) -> Ints:
        lengths: Ints = self._texts.lengths(numbers) + len(self._before) + len(self._after)
        return lengths

    def row(self, number: int, *, position: int | None) -> Row:
        text = self._texts.row(number, position=position)
        ids = np.concatenate([self._before, text.labels, self._after])
        place = ("evaluation", number) if position is None else ("train", position)
        input_ids, labels = corrupt(ids, self._masking, key=(self._seed, *place))
        places = None if text.position_ids is None else self._frame(text.position_ids)
        return Row(input_ids=input_ids, labels=labels, position_ids=places)

    def _frame(self, places: Ints) -> Ints:
        """Where documents are kept apart, the row's marks belong to its first and its last one. (A document's place 0
        is the token that opens it where the text is read, and where the text is the label its own first token.)"""
        before, after = len(self._before), len(self._after)
        later = np.flatnonzero(places == 0)[1:]
        first = places[: later[0] if len(later) else len(places)]
        last = places[-1] + (before if not len(later) else 0)
        framed = [np.arange(before), first + before, places[len(first) :], last + 1 + np.arange(after)]
        return np.concatenate(framed)


def marks_of(tokenizer: TokenizerSummary) -> int:
    """Tokens of a row that are no text."""
    return len(mark(tokenizer.cls_id)) + len(mark(tokenizer.sep_id))


def build_masking(objective: MaskedLM, tokenizer: Any) -> Masking:  # noqa: ANN401 - transformers has no types
    """The objective with the tables of a tokenizer of transformers; JobError if that one can't serve it."""
    if tokenizer.mask_token_id is None:
        raise JobError(
            "data.tokenizer: it has no mask token, which objective mlm needs; choose one made for masked models "
            "(BERT's, RoBERTa's, DeBERTa's), or let the job train one: {kind: train, algorithm: wordpiece}"
        )
    special = np.zeros(table_size(tokenizer), dtype=np.bool_)
    special[tokenizer.all_special_ids] = True
    known = np.zeros_like(special)
    known[list(tokenizer.get_vocab().values())] = True
    return Masking(
        probability=objective.probability,
        replace=objective.replace,
        span=objective.span,
        mask_id=tokenizer.mask_token_id,
        special=special,
        ordinary=np.flatnonzero(known & ~special),
        boundaries=word_boundaries(tokenizer) if objective.unit == "word" else None,
    )


def character_masking(objective: MaskedLM, text: Side) -> Masking:
    """The same for characters; those that replace others are drawn from this side's text."""
    return Masking(
        probability=objective.probability,
        replace=objective.replace,
        span=objective.span,
        mask_id=MASK,
        special=special_points(),
        ordinary=replacements(sample_characters(text)),
        boundaries=None,
    )


def mark(token: int | None) -> Ints:
    return np.array([] if token is None else [token], dtype=np.int64)
