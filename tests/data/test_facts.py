"""What preparing says of a job's batches is what its stream then feeds."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from runjob.data.cut import Limit
from runjob.data.facts import measure
from runjob.data.labelling import labelling_of
from runjob.data.order import Order
from runjob.data.prepare import prepare
from runjob.data.rows import open_rows
from runjob.data.store import Store
from runjob.data.stream import TrainStream
from runjob.data.text_pair_rows import TextPairRows
from runjob.runner.worker.models.text_vectors import apart
from runjob.runner.worker.objective import within_marks
from runjob.schemas.facts import keep_facts, recall_facts
from runjob.schemas.job import Job
from runjob.schemas.job_model import group_of
from runjob.schemas.read import read_job
from runjob.schemas.run import cache_home
from tests.conftest import ROOT

SMALLEST = ROOT / "tests" / "cases" / "valid" / "smallest.yaml"
PAIRS = ROOT / "tests" / "cases" / "valid" / "sentence_embedding.yaml"
BY_TOKENS = ("training.micro_batch=null", "training.micro_tokens=64", "data.sequence_length=24")


def open_job(words: Path, *sets: str) -> Job:
    return read_job(SMALLEST, [f"data.path={words}", "data.split.validation=0.2", *sets]).job


@pytest.fixture
def open_store(tmp_path: Path, no_report):
    return lambda job: Store.open(prepare(job.data, seed=job.seed, cache=tmp_path / "cache", report=no_report).path)


@pytest.fixture
def open_pairs(tmp_path: Path, no_report) -> tuple[Job, Store]:
    """A job of two texts a row, of many lengths, and its store."""
    path = tmp_path / "pairs.jsonl"
    pairs = ({"question": f"what is {n}", "answer": "it is " + "so " * (n * 7 % 40) + str(n)} for n in range(100))
    path.write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    job = read_job(PAIRS, [f"data.path={path}"]).job
    found = prepare(job.data, seed=1, cache=tmp_path / "cache", report=no_report, labelling=labelling_of(job))
    return job, Store.open(found.path)


@pytest.mark.parametrize("layout", ["lines", "pack"])
def test_rows_padding_and_micro_batches_are_those_of_the_first_epoch(words: Path, open_store, layout: str) -> None:
    job = open_job(words, f"data.layout={layout}", *BY_TOKENS)
    store = open_store(job)
    facts = measure(job, store, padded=True)
    rows = open_rows(store.train, job.data)
    limit = Limit(rows=None, tokens=64)
    stream = TrainStream(rows, Order(len(rows), job.seed), global_batch=8, limit=limit, rank=0, ranks=2)
    alone = TrainStream(rows, Order(len(rows), job.seed), global_batch=8, limit=limit, rank=0, ranks=1)
    steps = range(1, min(50, len(rows) // 8) + 1)
    counts = [len(stream.step(step).micro_batches) for step in steps]
    fed = [alone.step(step) for step in steps]
    stream.close()
    alone.close()
    computed = sum(micro.tensors["input_ids"].numel() for step in fed for micro in step.micro_batches)
    assert (facts.rows, facts.tokens, facts.left_out) == (len(rows), store.train.summary.predicted, 0)
    assert facts.padding == pytest.approx(1 - sum(step.tokens for step in fed) / computed)
    assert facts.micro_batches["2"] == (min(counts), max(counts))
    assert set(facts.micro_batches) == {"1", "2", "4", "8"}
    assert (facts.padding > 0.02) == (layout == "lines")


def test_what_is_cut_off_is_counted(words: Path, open_store) -> None:
    job = open_job(words, "data.layout=lines", "data.long_documents=truncate", *BY_TOKENS, "data.sequence_length=8")
    store = open_store(job)
    facts = measure(job, store, padded=True)
    assert facts.rows == store.train.summary.documents
    assert facts.left_out == store.train.summary.predicted - facts.tokens > 0


def test_the_padding_of_two_texts_is_that_of_each_beside_the_longest_of_its_micro_batch(open_pairs) -> None:
    job, store = open_pairs
    facts = measure(job, store, padded=True)
    tokenizer = store.summary.tokenizer
    rows = TextPairRows(open_rows(store.train, within_marks(job.data, tokenizer), eos=False), tokenizer)
    limit = Limit(rows=job.training.micro_batch, tokens=None, group=group_of(job.objective))
    stream = TrainStream(rows, Order(len(rows), job.seed), global_batch=16, limit=limit, rank=0, ranks=1)
    fed = [stream.step(step) for step in range(1, len(rows) // 16 + 1)]
    stream.close()
    texts = [
        apart(tensors["input_ids"], tensors["labels"], tensors.get("attention_mask"))
        for step in fed
        for tensors in (micro.tensors for micro in step.micro_batches)
    ]
    computed = sum(one.ids_TL.numel() for one in texts)
    assert len({one.ids_TL.shape[1] for one in texts}) > 1
    assert facts.padding == pytest.approx(1 - sum(int(one.mask_TL.sum()) for one in texts) / computed)
    assert facts.tokens == sum(len(text) for number in range(len(rows)) for text in rows.texts(number))


def test_facts_are_remembered_for_the_settings_that_decide_them(words: Path, open_store, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("RUNJOB_CACHE", str(tmp_path / "cache"))
    job = open_job(words, "data.layout=lines", *BY_TOKENS)
    assert recall_facts(job, padded=True) is None
    facts = measure(job, open_store(job), padded=True)
    keep_facts(job, facts, padded=True)
    assert recall_facts(job, padded=True) == facts
    assert recall_facts(job, padded=False) is None
    (file,) = (cache_home() / "facts").iterdir()
    good = file.read_text()
    for damaged in (good.replace(f'"rows": {facts.rows}', f'"rows": {facts.rows + 1}'), good[:20], ""):
        file.write_text(damaged)
        assert recall_facts(job, padded=True) is None
    file.write_text(good)
    alike = open_job(words, "data.layout=lines", *BY_TOKENS, "training.learning_rate=0.1")
    assert recall_facts(alike, padded=True) == facts
    for other in ("training.micro_tokens=65", "training.global_batch=16", "seed=7", "data.min_length=1"):
        assert recall_facts(open_job(words, "data.layout=lines", *BY_TOKENS, other), padded=True) is None


def test_where_rows_are_computed_end_to_end_there_is_no_padding_and_a_budget_holds_tokens_alone(
    words: Path, open_store
) -> None:
    job = open_job(words, "data.layout=lines", *BY_TOKENS)
    store = open_store(job)
    facts, padded = (measure(job, store, padded=padded) for padded in (False, True))
    assert facts.padding == 0 < padded.padding
    assert (facts.rows, facts.tokens) == (padded.rows, padded.tokens)
    rows = open_rows(store.train, job.data)
    lengths = rows.lengths(Order(len(rows), job.seed).rows_at(0, 8 * min(50, len(rows) // 8))).reshape(-1, 8)
    # at least as many as the tokens fill, never more than rows that find no room beside another would need
    assert min(-(-lengths.sum(1) // 64)) <= facts.micro_batches["1"][0] <= facts.micro_batches["1"][1]
    assert facts.micro_batches["1"][1] <= padded.micro_batches["1"][1]


def test_facts_are_those_of_the_group(open_pairs, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("RUNJOB_CACHE", str(tmp_path / "cache"))
    job, store = open_pairs
    keep_facts(job, measure(job, store, padded=True), padded=True)
    assert recall_facts(job, padded=True) is not None
    assert recall_facts(replace(job, objective=replace(job.objective, group=8)), padded=True) is None
