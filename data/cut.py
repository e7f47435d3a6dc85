"""How one global batch is cut: which samples each rank takes, and which of them share a micro batch.

A pure function of the samples' lengths, so every rank computes the same cut and knows that of all others: they run the
same number of micro batches without asking. Which samples make a global batch is not decided here, nor is anything of
them changed by how they are cut.

    lengths      7 2 9 4 5 3 8 1          two ranks, 20 tokens a micro batch, layout lines
    sorted       9 8 | 7 5 | 4 3 | 2 1    in rounds, one sample a rank
    rank 0       9 7 | 4 2                a micro batch is as wide as its longest row: 2 x 9, 2 x 4 tokens
    rank 1       8 5 | 3 1                (all four rows would be 36 tokens)
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]

# A micro batch counts as much as this part of a full one, whatever is in it: what starting kernels and (ZeRO 2 and 3)
# sending gradients costs, on the large side, so that a GPU is not fed with crumbs.
EACH = 8
# Rows of a rank whose cut is thought over together; it takes 10 us a row.
WINDOW = 4096


@dataclass(frozen=True, kw_only=True)
class Limit:
    """How large a micro batch may be: in rows, or in tokens; one of the two is None. Padding counts, unless rows
    are computed end to end (schemas/end_to_end.py). `group` neighbouring rows are never parted."""

    rows: int | None
    tokens: int | None
    padded: bool = True
    group: int = 1

    def __post_init__(self) -> None:
        if (self.rows is None) == (self.tokens is None) or (self.rows or self.tokens or 0) < 1:
            raise ValueError(f"a micro batch is limited by rows or by tokens, not by both or neither: {self}")
        if self.group > 1 and (self.rows is None or self.rows % self.group):
            raise ValueError(f"a micro batch of whole groups is limited by rows, a multiple of the group: {self}")

    def rows_of(self, width: int) -> int:
        """How many rows of this width fit; at least one, which a rule of the job makes sure of."""
        return self.rows if self.rows is not None else max((self.tokens or 0) // width, 1)


@dataclass(frozen=True, kw_only=True)
class Cut:
    """`places[i, r]`: which sample of the global batch (from 0) is rank r's i-th; `bounds`: where its micro batches
    begin, and the end of the last."""

    places: Ints
    bounds: tuple[int, ...]

    def micro_batches(self, rank: int) -> list[Ints]:
        """The places of this rank's samples, a micro batch at a time."""
        return np.split(self.places[:, rank], self.bounds[1:-1])

    @property
    def exchanged(self) -> tuple[int, ...]:
        """The place of every sample when the ranks' shares stand one after another."""
        return tuple(self.places.T.ravel().tolist())


def cut_even(global_batch: int, *, ranks: int, limit: Limit, width: int) -> Cut:
    """Rows that are all as wide: contiguous shares in the order of the samples."""
    share = global_batch // ranks
    places = np.arange(global_batch, dtype=np.int64).reshape(ranks, share).T
    return Cut(places=places, bounds=(*range(0, share, limit.rows_of(width)), share))


def cut_by_length(lengths: Ints, *, ranks: int, limit: Limit) -> Cut:
    """Rows of many lengths: the longest first (what runs out of memory does so at once), dealt to the ranks in turn, so
    that their shares are alike in samples and in tokens, and then cut at the same places on all of them."""
    if limit.group > 1:
        return _cut_groups(lengths, ranks=ranks, limit=limit)
    order = np.argsort(-lengths, kind="stable")
    places = order.reshape(-1, ranks)
    longest = lengths[places[:, 0]]
    if limit.tokens is None:
        return Cut(places=places, bounds=(*range(0, len(longest), limit.rows_of(1)), len(longest)))
    bounds = [0]
    for start in range(0, len(longest), WINDOW):
        bounds_of = cheapest_bounds if limit.padded else fullest_bounds
        bounds += [start + bound for bound in bounds_of(longest[start : start + WINDOW], limit.tokens)]
    return Cut(places=places, bounds=tuple(bounds))


def _cut_groups(lengths: Ints, *, ranks: int, limit: Limit) -> Cut:
    """The same of groups, each as long as its longest row and in the order of its samples."""
    group = limit.group
    whole = Limit(rows=limit.rows_of(1) // group, tokens=None)
    cut = cut_by_length(lengths.reshape(-1, group).max(axis=1), ranks=ranks, limit=whole)
    places = cut.places[:, None, :] * group + np.arange(group)[None, :, None]
    return Cut(places=places.reshape(-1, ranks), bounds=tuple(bound * group for bound in cut.bounds))


def cheapest_bounds(longest: Ints, budget: int) -> list[int]:
    """Where micro batches of these rows end, the longest first, so that padding and number together cost least. Filling
    each up to the budget would put short rows beside long ones: 35 % of what is computed was padding where this leaves
    20 %, in 6 micro batches instead of 4 (lengths log-normal, 256 rows of at most 512, 8192 tokens)."""
    rows = len(longest)
    cost = np.zeros(rows + 1)
    end = np.zeros(rows, dtype=np.int64)
    for start in range(rows - 1, -1, -1):
        width = int(longest[start])
        most = min(max(budget // width, 1), rows - start)
        choices = width * np.arange(1, most + 1) + cost[start + 1 : start + most + 1]
        end[start] = start + 1 + int(choices.argmin())
        cost[start] = choices.min() + budget / EACH
    ends = [int(end[0])]
    while ends[-1] < rows:
        ends.append(int(end[ends[-1]]))
    return ends


def fullest_bounds(longest: Ints, budget: int) -> list[int]:
    """Where micro batches of these rows end if padding costs nothing: as few as the budget allows."""
    ends, tokens = [], 0
    for place, length in enumerate(longest.tolist()):
        if tokens and tokens + length > budget:
            ends.append(place)
            tokens = 0
        tokens += length
    return [*ends, len(longest)]


def cut_rows(lengths: Ints, *, limit: Limit) -> list[Ints]:
    """Rows of many lengths for one reader, as `cut_by_length`: the places of each micro batch. What is left over of
    groups is a smaller one, computed by itself."""
    whole = len(lengths) // limit.group * limit.group
    cut = cut_by_length(lengths[:whole], ranks=1, limit=limit).micro_batches(0) if whole else []
    return cut if whole == len(lengths) else [*cut, np.arange(whole, len(lengths))]
