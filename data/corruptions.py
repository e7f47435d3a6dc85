"""What is hidden from a masked language model: pure functions of a row's ids and of a key, so no process remembers
anything, and a row is corrupted alike on any rank, in any order, before and after a resume.

    ids -> units (tokens, or words: data/words.py) -> the chosen ones -> each of their tokens masked, replaced or kept

How many are chosen: of n units K, which is `probability` x n rounded up or down at random so that K is that on average;
every choice of K units is as likely as any other, so each token of a row is predicted with exactly this probability,
long words and short rows included. A row of few units may predict nothing.

With spans the number of runs is rounded in this way: n x probability / their mean length, of independent lengths, laid
so that no two touch. A run is at most half of the row; one that crosses a special token is cut by it. Above a
probability of about a quarter, runs that find no room are left out, and the share falls a little short.

Random numbers come from Philox, 64 bits at a time and scaled here: the bits of a key never change, while the
distributions of numpy may with a version.
"""

import functools
import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from runjob.data.words import Boundaries
from runjob.schemas.job_model import Replace, Span

IGNORED = -100

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
Key = tuple[int | str, ...]


@dataclass(frozen=True, kw_only=True)
class Masking:
    """The objective beside the tables of its tokenizer, by token id: `special` ones are never hidden; `ordinary` are
    the ids that replace others at random; `boundaries` where units are words, None where they are tokens."""

    probability: float
    replace: Replace
    span: Span | None
    mask_id: int
    special: Bools
    ordinary: Ints
    boundaries: Boundaries | None


def corrupt(ids: Ints, masking: Masking, *, key: Key) -> tuple[Ints, Ints]:
    """(input_ids, labels): what the network reads, and the hidden ids where they are to be predicted."""
    input_ids, labels = ids.copy(), np.full_like(ids, IGNORED)
    special = masking.special[ids]
    places = np.flatnonzero(~special)
    if not len(places):
        return input_ids, labels
    draws = Draws(key)
    if masking.boundaries is None:
        chosen = places[_choose(len(places), masking, draws)]
    else:
        words = _number_words(ids, special, masking.boundaries)[places]
        chosen = places[_choose(int(words[-1]) + 1, masking, draws)[words]]
    labels[chosen] = ids[chosen]
    fate = draws.uniform(len(chosen))
    shares = masking.replace
    input_ids[chosen[fate < shares.mask]] = masking.mask_id
    replaced = chosen[(fate >= shares.mask) & (fate < shares.mask + shares.random)]
    input_ids[replaced] = masking.ordinary[(draws.uniform(len(replaced)) * len(masking.ordinary)).astype(np.int64)]
    return input_ids, labels


class Draws:
    """Uniform numbers in [0, 1) from a key."""

    def __init__(self, key: Key) -> None:
        digest = hashlib.sha256(("runjob corruption " + " ".join(map(str, key))).encode()).digest()
        self._bits = np.random.Philox(key=int.from_bytes(digest[:16], "little"))

    def uniform(self, count: int) -> Floats:
        # the upper 53 bits are what a float holds
        upper: Floats = (self._bits.random_raw(count) >> np.uint64(11)).astype(np.float64)
        return upper * 2.0**-53


def _number_words(ids: Ints, special: Bools, boundaries: Boundaries) -> Ints:
    """The word of each token, counted from 0; what stands at special tokens means nothing."""
    begins = boundaries.opens[ids]
    begins[0] = True
    begins[1:] |= boundaries.closes[ids[:-1]] | special[:-1]
    words: Ints = np.cumsum(begins & ~special) - 1
    return words


def _choose(units: int, masking: Masking, draws: Draws) -> Bools:
    """Which units are hidden."""
    rounding = draws.uniform(1)[0]
    if masking.span is None:
        return _pick(units, int(masking.probability * units + rounding), draws)
    longest = max(min(masking.span.longest, units // 2), 1)
    up_to, mean = _lengths(masking.span.geometric, longest)
    runs = int(masking.probability * units / mean + rounding)
    lengths = 1 + np.searchsorted(up_to, draws.uniform(runs), side="right")
    # each with a unit between it and the next
    lengths = lengths[np.cumsum(lengths) + np.arange(len(lengths)) <= units]
    return _lay(lengths, units, draws)


def _pick(units: int, count: int, draws: Draws) -> Bools:
    """`count` of the units, each choice as likely as any other."""
    chosen = np.zeros(units, dtype=np.bool_)
    chosen[np.argpartition(draws.uniform(units), min(count, units - 1))[:count]] = True
    return chosen


def _lay(lengths: Ints, units: int, draws: Draws) -> Bools:
    """Runs of these lengths in this order, none touching another: each way to lay them is as likely."""
    chosen = np.zeros(units, dtype=np.bool_)
    gaps = units - int(lengths.sum()) + 1  # before, between and behind the units that are left
    before = np.flatnonzero(_pick(gaps, len(lengths), draws))
    starts = before + np.cumsum(lengths) - lengths
    steps = np.arange(int(lengths.sum())) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    chosen[np.repeat(starts, lengths) + steps] = True
    return chosen


@functools.cache
def _lengths(geometric: float, longest: int) -> tuple[Floats, float]:
    """Of lengths 1 .. longest, whose chances fall by 1 - geometric: the cumulated chances, all but the last, and the
    mean."""
    lengths = np.arange(1, longest + 1)
    chances = (1 - geometric) ** (lengths - 1.0)
    chances /= chances.sum()
    return np.cumsum(chances)[:-1], float((lengths * chances).sum())
