"""Several sources in one order: proportions that are exact, and each source read as if it were alone."""

import json
import time
from fractions import Fraction
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runjob.data import tokenizers
from runjob.data.batches import sample_digest
from runjob.data.corpus import open_corpus
from runjob.data.cut import Limit
from runjob.data.mixture import MixedOrder, open_order
from runjob.data.prepare import prepare
from runjob.data.rows import PackedRows
from runjob.data.store import Store
from runjob.data.stream import TrainStream
from runjob.schemas.data_rules import LONGEST_CYCLE, cycle_of
from runjob.schemas.errors import DataError, MissingError
from runjob.schemas.job_data import MixData
from runjob.schemas.read import read_job
from tests.conftest import ROOT
from tests.data.test_going_on import broken_off, contents, gone_on

GOLDEN = [3, 2, 1, 0, 0, 6, 1, 2, 7, 0, 1, 5]
SECTIONS = st.lists(st.tuples(st.integers(1, 50), st.integers(1, 9)), min_size=1, max_size=4)


def order_of(drawn: list[tuple[int, int]], seed: int) -> MixedOrder:
    return MixedOrder(tuple(rows for rows, _ in drawn), tuple(share for _, share in drawn), seed=seed)


@given(weights=st.lists(st.sampled_from([0.1, 0.25, 0.5, 0.7, 1.0, 2.0, 3.0, 12.0]), min_size=1, max_size=5))
def test_a_cycle_has_the_proportions_of_the_weights_exactly(weights: list[float]):
    shares = cycle_of(weights)
    exact = [Fraction(str(weight)) for weight in weights]
    assert all(Fraction(share, sum(shares)) == weight / sum(exact) for share, weight in zip(shares, exact, strict=True))
    assert np.gcd.reduce(shares) == 1


@settings(deadline=None, max_examples=40)
@given(drawn=SECTIONS, seed=st.integers(0, 2**64), cycle=st.integers(0, 10**9))
def test_every_cycle_holds_each_source_in_its_share(drawn: list[tuple[int, int]], seed: int, cycle: int):
    order = order_of(drawn, seed)
    counted = np.bincount(order.sources_at(cycle * order.cycle, order.cycle), minlength=len(drawn))
    assert counted.tolist() == [share for _, share in drawn]


@settings(deadline=None, max_examples=40)
@given(drawn=SECTIONS, seed=st.integers(0, 2**64), start=st.integers(0, 10**12), count=st.integers(0, 400))
def test_any_cut_of_the_order_is_the_same_order(drawn: list[tuple[int, int]], seed: int, start: int, count: int):
    order = order_of(drawn, seed)
    whole = order.rows_at(start, count)
    cut = count // 3
    assert np.array_equal(whole, np.concatenate([order.rows_at(start, cut), order.rows_at(start + cut, count - cut)]))
    assert len(whole) == count
    assert all(0 <= row < order.rows for row in whole)


@settings(deadline=None, max_examples=25)
@given(drawn=SECTIONS, seed=st.integers(0, 2**32))
def test_a_source_taken_out_of_the_mixture_goes_through_all_of_its_rows_pass_after_pass(
    drawn: list[tuple[int, int]], seed: int
):
    order = order_of(drawn, seed)
    rows = order.rows_at(0, 100 * order.cycle)
    first = 0
    for section, _ in drawn:
        own = rows[(rows >= first) & (rows < first + section)] - first
        for begin in range(0, len(own) - section, section):
            assert sorted(own[begin : begin + section]) == list(range(section))
        first += section


def test_sources_of_one_size_are_read_in_orders_of_their_own():
    order = MixedOrder((40, 40), (1, 1), seed=5)
    rows = order.rows_at(0, 80)
    one, other = rows[rows < 40][:40], rows[rows >= 40][:40] - 40
    assert sorted(one) == sorted(other)
    assert not np.array_equal(one, other)


def test_the_seed_draws_another_order_and_the_order_never_changes_between_versions():
    drawn = MixedOrder((3, 5), (2, 1), seed=1).rows_at(0, 12).tolist()
    assert drawn == GOLDEN
    assert MixedOrder((3, 5), (2, 1), seed=2).rows_at(0, 12).tolist() != drawn


@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_any_number_of_ranks_sees_the_same_mixture(make_side, ranks: int):
    side = make_side([[1 + (n + i) % 8 for i in range(1 + n % 8)] for n in range(41)])
    rows = PackedRows(side, 4)
    order = MixedOrder((10, len(rows) - 10), (3, 1), seed=2)
    streams = [
        TrainStream(rows, order, global_batch=8, limit=Limit(rows=2, tokens=None), rank=rank, ranks=ranks)
        for rank in range(ranks)
    ]
    for step in (1, 2, 500):
        seen = [digest for stream in streams for digest in stream.step(step).digests]
        numbers = order.rows_at((step - 1) * 8, 8).tolist()
        assert sorted(seen) == sorted(sample_digest(number, rows.row(number)) for number in numbers)
    for stream in streams:
        stream.close()


def mixture(*sources: str, sets: tuple[str, ...] = ()) -> MixData:
    job = read_job(ROOT / "tests" / "cases" / "valid" / "mix.yaml", [f"data.sources=[{', '.join(sources)}]", *sets]).job
    assert isinstance(job.data, MixData)
    return job.data


BPE = "data.tokenizer={kind: train, algorithm: bpe, vocab_size: 300}"
FIRST = "data.split={kind: first, validation: 2}"


@pytest.fixture
def two_sources(words: Path, tmp_path: Path) -> tuple[str, str]:
    """The lines of `words`, of which every fourth is in the second source, as JSON, and the last of the first too."""
    lines = words.read_text(encoding="utf-8").splitlines()
    first, second = [line for n, line in enumerate(lines) if n % 4], lines[::4]
    (tmp_path / "first.txt").write_text("\n".join(first) + "\n", encoding="utf-8")
    written = [json.dumps({"text": line}) for line in [*second, first[-1]]]
    (tmp_path / "second.jsonl").write_text("\n".join(written) + "\n", encoding="utf-8")
    return (
        f"{{kind: text, path: {tmp_path}/first.txt, weight: 3}}",
        f"{{kind: jsonl, path: {tmp_path}/second.jsonl}}",
    )


def test_each_source_is_a_section_of_the_store_and_no_row_runs_over_its_border(
    two_sources: tuple[str, str], tmp_path: Path, no_report
):
    data = mixture(*two_sources, sets=(BPE, FIRST))
    store = Store.open(prepare(data, seed=1, cache=tmp_path / "cache", report=no_report).path)
    tokenizer = tokenizers.load_saved(store.tokenizer)
    train, validation = store.train, store.validation
    assert [section.documents for section in train.summary.sections] == [148, 49]
    assert [section.documents for section in validation.summary.sections] == [2, 2]
    for side in (train, validation):
        whole = [side.document(number).tolist() for number in range(side.summary.documents)]
        cut = [part.document(number).tolist() for part in side.sections() for number in range(part.summary.documents)]
        assert whole == cut
    rows = PackedRows(train, 7)
    border = train.summary.sections[0].predicted
    assert sum(rows.sections) == len(rows) == -(-border // 7) + -(-train.summary.sections[1].predicted // 7)
    learnt = [rows.row(number).labels.tolist() for number in range(len(rows))]
    assert list(chain(*learnt)) == train.tokens[1:].tolist()
    assert list(chain(*learnt[: rows.sections[0]])) == train.tokens[1 : border + 1].tolist()
    assert rows.row(rows.sections[0]).input_ids[0] == tokenizer.eos_token_id
    first = json.loads((tmp_path / "second.jsonl").read_text(encoding="utf-8").splitlines()[0])["text"]
    assert tokenizer.decode(validation.document(2)) == first


def test_of_a_copy_in_two_sources_the_first_source_keeps_it(two_sources: tuple[str, str], tmp_path: Path, no_report):
    for sources, expected in ((two_sources, [148, 48]), (two_sources[::-1], [49, 147])):
        data = mixture(*sources, sets=(BPE, FIRST, "data.deduplicate=true"))
        summary = prepare(data, seed=1, cache=tmp_path / "cache", report=no_report).summary
        assert [section.documents for section in summary.train.sections] == expected
        assert summary.left_out.duplicates == 1


def test_weights_decide_the_order_and_no_token(two_sources: tuple[str, str], tmp_path: Path, no_report):
    one = mixture(*two_sources, sets=(BPE, FIRST))
    heavier = mixture(two_sources[0].replace("weight: 3", "weight: 7"), two_sources[1], sets=(BPE, FIRST))
    stores = [prepare(data, seed=1, cache=tmp_path / "cache", report=no_report) for data in (one, heavier)]
    assert [store.built for store in stores] == [True, False]
    sections = PackedRows(Store.open(stores[0].path).train, 16).sections
    drawn = [open_order(data, sections, seed=1).rows_at(0, 4000) for data in (one, heavier)]
    assert [int((rows < sections[0]).sum()) for rows in drawn] == [3000, 3500]


@pytest.mark.parametrize("batches", [2, 21])  # in the first source, and in the second
def test_a_mixture_that_is_broken_off_goes_on_to_the_same_bytes(
    two_sources: tuple[str, str], tmp_path: Path, no_report, batches: int
):
    unigram = "data.tokenizer={kind: train, algorithm: unigram, vocab_size: 120}"
    data = mixture(*two_sources, sets=(unigram, FIRST, "data.deduplicate=true"))
    whole = prepare(data, seed=1, cache=tmp_path / "whole", report=no_report)
    broken_off(data, tmp_path / "cache", "tokenising", batches)
    prepared, _ = gone_on(data, tmp_path / "cache")
    assert contents(prepared.path) == contents(whole.path)
    assert [len(side.sections) for side in prepared.summary.sides().values()] == [2, 2]


def test_a_source_without_training_documents_is_named(two_sources: tuple[str, str], tmp_path: Path, no_report):
    (tmp_path / "few.txt").write_text("een\ntwee\n", encoding="utf-8")
    data = mixture(*two_sources, f"{{kind: text, path: {tmp_path}/few.txt}}", sets=(BPE, FIRST))
    with pytest.raises(DataError, match=r"data\.sources\[2\]: none of its documents is on the training side"):
        prepare(data, seed=1, cache=tmp_path / "cache", report=no_report)
    with pytest.raises(DataError, match=r"data\.sources\[2\]: .* go by deduplicate, filter, min_length and split"):
        open_order(data, (5, 5, 0), seed=1)


def test_a_source_that_is_not_there_is_named_by_its_place(two_sources: tuple[str, str], tmp_path: Path):
    with pytest.raises(MissingError, match=r"^data\.sources\[2\]\.path: .*nowhere\.txt: no such file"):
        open_corpus(mixture(*two_sources, f"{{kind: text, path: {tmp_path}/nowhere.txt}}"))


def test_a_far_place_costs_what_a_near_one_costs():
    order = MixedOrder((10**9, 10**7), (7, 3), seed=1)

    def fastest(start: int) -> float:
        spent = []
        for _ in range(5):
            began = time.perf_counter()
            order.rows_at(start, 256)
            spent.append(time.perf_counter() - began)
        return min(spent)

    assert fastest(10**12) < 3 * fastest(10)


def test_the_longest_cycle_is_drawn_in_a_few_milliseconds():
    order = MixedOrder((1000, 1000), (LONGEST_CYCLE - 1, 1), seed=1)
    began = time.perf_counter()
    order.rows_at(10**9, 64)
    assert time.perf_counter() - began < 0.5
