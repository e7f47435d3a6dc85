"""The bigram baseline against the same model written slowly with dictionaries, and as a distribution."""

import itertools
import math
from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runjob.runner.worker.baseline import count_bigrams, discounts, interpolated_bigram, probabilities
from runjob.schemas.errors import DataError

TEXT = "de kat zag de hond en de hond zag de kat en de kat liep naar de andere hond die de kat niet zag "


def _ids(text: str) -> tuple[np.ndarray, int]:
    letters = sorted(set(TEXT + "xyz"))
    return np.array([letters.index(letter) for letter in text], dtype=np.uint16), len(letters)


class SlowKneserNey:
    """The formula of the module's first paragraph, a dictionary a symbol."""

    def __init__(self, train: list[int], vocab_size: int) -> None:
        self.vocab_size = vocab_size
        self.pairs = Counter(itertools.pairwise(train))
        self.history = Counter(train[:-1])
        self.after, self.before = defaultdict(set), defaultdict(set)
        for v, w in self.pairs:
            self.after[v].add(w)
            self.before[w].add(v)
        self.d2 = self.discount(self.pairs.values())
        self.d1 = self.discount(len(before) for before in self.before.values())

    @staticmethod
    def discount(counts) -> float:
        of = Counter(counts)
        return of[1] / (of[1] + 2 * of[2]) if of[1] else 0.5

    def single(self, w: int) -> float:
        kinds = len(self.pairs)
        rest = self.d1 * len(self.before) / kinds / self.vocab_size
        return max(len(self.before.get(w, ())) - self.d1, 0) / kinds + rest

    def probability(self, v: int, w: int) -> float:
        if v not in self.history:
            return self.single(w)
        kept = max(self.pairs[v, w] - self.d2, 0) / self.history[v]
        return kept + self.d2 * len(self.after[v]) / self.history[v] * self.single(w)

    def loss(self, validation: list[int]) -> float:
        pairs = list(itertools.pairwise(validation))
        return -math.fsum(math.log(self.probability(v, w)) for v, w in pairs) / len(pairs)


def test_it_equals_the_slow_model_on_real_text_with_unseen_tokens_and_histories():
    train, vocab_size = _ids(TEXT * 3)
    validation, _ = _ids("de hond zag xyz en zy de kat")
    report = interpolated_bigram(train, validation, vocab_size)
    slow = SlowKneserNey(train.tolist(), vocab_size)
    assert report.loss == pytest.approx(slow.loss(validation.tolist()), abs=1e-12)
    assert report.perplexity == pytest.approx(math.exp(report.loss), rel=1e-15)
    assert report.discounts == (slow.d2, slow.d1)
    assert (report.train_tokens, report.predicted) == (len(train), len(validation) - 1)
    assert report.method == "interpolated Kneser-Ney bigram"


@settings(max_examples=60, deadline=None)
@given(
    train=st.lists(st.integers(0, 6), min_size=2, max_size=80),
    validation=st.lists(st.integers(0, 8), min_size=2, max_size=30),
    pairs=st.integers(1, 40),
)
def test_every_history_has_probabilities_that_sum_to_one_however_the_corpus_is_cut(train, validation, pairs):
    train, validation = np.array(train, dtype=np.uint16), np.array(validation, dtype=np.uint16)
    vocab_size = 9
    counts = count_bigrams(train, validation, vocab_size, pairs=pairs)
    slow = SlowKneserNey(train.tolist(), vocab_size)
    assert discounts(counts) == (slow.d2, slow.d1)
    tokens = np.arange(vocab_size)
    for history in range(vocab_size):
        seen = np.array([slow.pairs[history, int(token)] for token in tokens])
        row = probabilities(counts, np.full(vocab_size, history), tokens, seen)
        assert row.sum() == pytest.approx(1.0, abs=1e-12)
        assert row.min() > 0
    fast = probabilities(counts, validation[:-1], validation[1:], counts.wanted)
    expected = [slow.probability(int(v), int(w)) for v, w in itertools.pairwise(validation)]
    assert fast.tolist() == pytest.approx(expected, abs=1e-12)


def test_ids_of_a_large_vocabulary_do_not_overflow_their_small_integer_type():
    train = np.array([50_000, 49_999] * 50 + [50_000, 50_000, 3, 49_999], dtype=np.uint16)
    report = interpolated_bigram(train, train[:20], 50_257)
    assert report.loss == pytest.approx(SlowKneserNey(train.tolist(), 50_257).loss(train[:20].tolist()), abs=1e-12)


def test_a_side_without_a_pair_is_refused_by_name():
    one, two = np.array([1], dtype=np.uint16), np.array([1, 2], dtype=np.uint16)
    with pytest.raises(DataError, match=r"evaluation\.baseline: .* 2 training and 1 validation"):
        interpolated_bigram(two, one, 5)
    with pytest.raises(DataError):
        interpolated_bigram(one, two, 5)
