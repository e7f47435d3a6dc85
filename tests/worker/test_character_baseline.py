"""The character baseline against all ways to fill the gaps, one by one."""

import itertools
import math
from pathlib import Path

import numpy as np
import pytest

from runjob.data.characters import CLS, MASK, SEP
from runjob.data.corruptions import IGNORED
from runjob.data.rows import Row
from runjob.data.store import Side
from runjob.data.writer import SideWriter
from runjob.runner.worker.character_baseline import Chain, character_bigram
from runjob.schemas.errors import DataError

TABLE = 128
NAMES = ["aba", "abcab", "bca", "cab.ab", "a", "ba.ca", "abab", "中a"]


def side(tmp_path: Path, names: list[str]) -> Side:
    path = tmp_path / f"side-{len(list(tmp_path.iterdir()))}"
    with SideWriter(path, eos_id=SEP, token_type="uint32") as writer:
        for name in names:
            writer.append(name, [*map(ord, name)])
        return Side(path, summary=writer.close(), token_type="uint32")


def hidden(text: str, *places: int, seen: dict[int, str] | None = None) -> Row:
    """A row of this text with some of it hidden; `seen`: what the network sees there instead of the mask."""
    ids = np.array([CLS, *map(ord, text), SEP])
    labels = np.full(len(ids), IGNORED)
    shown = ids.copy()
    for place in places:
        labels[place + 1] = ids[place + 1]
        shown[place + 1] = ord((seen or {}).get(place, chr(MASK)))
    return Row(input_ids=shown, labels=labels, position_ids=None)


class Fixed:
    """Rows that are what they are."""

    def __init__(self, *rows: Row) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def lengths(self, numbers):
        return np.array([len(self.rows[number].labels) for number in numbers])

    def row(self, number: int, *, position: int | None) -> Row:
        assert position is None, "an evaluation's rows are the same every time"
        return self.rows[number]


def by_enumeration(chain: Chain, text: str, gaps: tuple[int, ...]) -> list[float]:
    """The chance of each hidden character, over all fillings of the gaps."""
    states = [0, *(int(chain._of(np.array([ord(c)]))[0]) for c in text), 0]
    total = 0.0
    right = dict.fromkeys(gaps, 0.0)
    for filling in itertools.product(range(chain.size), repeat=len(gaps)):
        filled = list(states)
        for gap, state in zip(gaps, filling, strict=True):
            filled[gap + 1] = state
        chance = math.prod(chain.after[v, w] for v, w in itertools.pairwise([0, *filled]))
        total += chance
        for gap, state in zip(gaps, filling, strict=True):
            right[gap] += chance if state == states[gap + 1] else 0.0
    return [right[gap] / total for gap in gaps]


@pytest.mark.parametrize(("text", "gaps"), [("abcab", (2,)), ("abcab", (1, 2, 3)), ("cab.ab", (0, 4, 5)), ("a", (0,))])
def test_it_equals_the_sum_over_all_fillings_of_the_gaps(tmp_path, text, gaps):
    train = side(tmp_path, NAMES)
    chain = Chain(train, table=TABLE)
    expected = by_enumeration(chain, text, gaps)
    assert chain.losses([hidden(text, *gaps)]) == pytest.approx([-math.log(chance) for chance in expected], abs=1e-9)
    # whatever stands in the batch beside it, and whatever the network sees at a hidden place
    together = chain.losses([hidden("abababababa", 1), hidden(text, *gaps, seen={gaps[0]: "b"})])
    assert together[1:] == pytest.approx([-math.log(chance) for chance in expected], abs=1e-9)


def test_after_each_state_the_chances_add_up_to_one_and_none_is_zero(tmp_path):
    chain = Chain(side(tmp_path, NAMES), table=TABLE)
    assert chain.size == 1 + 5 + 1  # end; a b c . and what is beyond the table; all others
    assert chain.after.sum(1) == pytest.approx(np.ones(chain.size), abs=1e-12)
    assert chain.after.min() > 0


def test_characters_never_seen_share_what_is_left(tmp_path):
    chain = Chain(side(tmp_path, NAMES), table=TABLE)
    (seen,), (unseen,), (other,) = (chain.losses([hidden(f"ab{last}", 2)]) for last in "az9")
    assert unseen == other > seen
    # 128 classes: class 0 and four characters have a state
    shared = chain._chances(np.zeros((1, 2), dtype=np.int64), np.ones((1, 2), dtype=bool))
    assert shared.sum(2) == pytest.approx(np.ones((1, 2)))
    assert chain._spread == pytest.approx(math.log(TABLE - 5))


def test_the_report_is_of_all_hidden_places_of_the_rows(tmp_path):
    train = side(tmp_path, NAMES)
    rows = Fixed(hidden("abcab", 1), hidden("ba.ca", 0, 3, 4), hidden("aba"))
    report = character_bigram(train, rows, table=TABLE)
    chain = Chain(train, table=TABLE)
    losses = [*chain.losses([rows.rows[0]]), *chain.losses([rows.rows[1]])]
    assert report.predicted == 4
    assert report.loss == pytest.approx(sum(losses) / 4, abs=1e-12)
    assert report.perplexity == pytest.approx(math.exp(report.loss))
    assert "both sides" in report.method
    with pytest.raises(DataError, match="nothing is hidden"):
        character_bigram(train, Fixed(hidden("aba")), table=TABLE)
