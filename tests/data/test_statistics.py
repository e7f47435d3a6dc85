"""Numbers about prepared data, against the same ones counted by hand."""

import json
import re
from collections import Counter
from pathlib import Path

import pytest

from runjob.data import tokenizers
from runjob.data.labelling import labelling_of
from runjob.data.prepare import prepare
from runjob.data.statistics import Sizes, measure_store
from runjob.data.store import Store
from runjob.runner.statistics_text import statistics_text
from runjob.schemas.job import Job
from runjob.schemas.read import read_job
from runjob.schemas.statistics import Statistics
from tests.conftest import ROOT, Runjob

BPE = "data.tokenizer={kind: train, algorithm: bpe, vocab_size: 300}"


@pytest.fixture
def job(words: Path, tmp_path: Path) -> Job:
    """Validation: 5 documents; test: 2, of which one stands in training too; training: 197, one of them twice."""
    lines = words.read_text(encoding="utf-8").splitlines()
    lines = [*lines[:6], lines[20], *lines[6:199], lines[30], "  ", "x"]
    words.write_text("\n".join(lines) + "\n", encoding="utf-8")
    (tmp_path / "more.jsonl").write_text("".join(json.dumps({"text": f"meer {n}"}) + "\n" for n in range(30)))
    sources = f"[{{weight: 3, kind: text, path: {words}}}, {{kind: jsonl, path: {tmp_path}/more.jsonl}}]"
    return read_job(
        ROOT / "tests" / "cases" / "valid" / "mix.yaml",
        [f"data.sources={sources}", BPE, "data.split={kind: first, validation: 5, test: 2}", "data.min_length=2"],
    ).job


@pytest.fixture
def store(job: Job, tmp_path: Path, no_report) -> Store:
    return Store.open(prepare(job.data, seed=job.seed, cache=tmp_path / "cache", report=no_report).path)


def test_every_number_is_that_of_the_documents_themselves(job: Job, store: Store, tmp_path: Path):
    found = measure_store(store, job, scratch=tmp_path / "scratch", sizes=Sizes(documents=7, tokens=100, counted=1000))
    tokenizer = tokenizers.load_saved(store.tokenizer)
    seen: Counter[str] = Counter()
    for name, side in (("train", store.train), ("validation", store.validation), ("test", store.test)):
        documents = [side.document(number).tolist() for number in range(side.summary.documents)]
        texts = [tokenizer.decode(document) for document in documents]
        lengths = sorted(map(len, documents))
        measured = found.sides[name]
        assert (measured.documents, measured.tokens) == (len(documents), sum(lengths))
        assert measured.bytes == sum(len(text.encode()) for text in texts)
        assert measured.words == sum(len(text.split()) for text in texts)
        assert measured.tokens_per_word == pytest.approx(sum(lengths) / measured.words)
        assert measured.bytes_per_token == pytest.approx(measured.bytes / sum(lengths))
        assert measured.lengths.longest == lengths[-1]
        assert measured.lengths.mean == pytest.approx(sum(lengths) / len(lengths))
        assert measured.lengths.median == lengths[-(-len(lengths) // 2) - 1]
        for bucket in measured.lengths.histogram:
            assert bucket.documents == sum(bucket.least <= length <= bucket.most for length in lengths)
        assert sum(bucket.documents for bucket in measured.lengths.histogram) == len(documents)
        copies = 0
        for text in texts:
            copies += seen[text] > 0
            seen[text] += 1
        assert measured.copies == copies
    assert [side.copies for side in found.sides.values()] == [1, 0, 1]
    assert (found.left_out["empty"], found.left_out["short"]) == (1, 1)
    assert found.vocabulary_used == len(set(store.train.tokens.tolist()))
    assert list((tmp_path / "scratch").glob("*")) == []


@pytest.mark.parametrize("deduplicate", [False, True])
def test_a_text_that_stood_before_with_other_labels_alone_contradicts_them(deduplicate, tmp_path: Path, no_report):
    said = [("reef", "site"), ("bone", "mail"), ("reef", "site"), ("reef", "mail"), ("reef", "mail"), ("leaf", "site")]
    labels = [*said, ("bone", "site"), ("shell", "mail")]
    path = tmp_path / "kinds.jsonl"
    path.write_text("".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in labels))
    split = "data.split={kind: first, validation: 1, test: 1}"  # the first two
    sets = [f"data.path={path}", split, f"data.deduplicate={str(deduplicate).lower()}", "objective.labels=[site, mail]"]
    sets.append("objective.class_weights=null")
    job = read_job(ROOT / "tests" / "cases" / "valid" / "sequence_classification.yaml", sets).job
    found = prepare(job.data, seed=1, cache=tmp_path / "cache", report=no_report, labelling=labelling_of(job))
    statistics = measure_store(Store.open(found.path), job, scratch=tmp_path / "scratch")
    # those of the training side stand first: reef as mail, and then both of the other sides
    assert {name: side.contradicting for name, side in statistics.sides.items()} == {
        "train": 0 if deduplicate else 1,
        "validation": int(deduplicate),
        "test": 1,
    }
    told = statistics_text(statistics)
    assert ("1 of validation, 1 of test stood before with another label" in told) == deduplicate


def test_sources_have_their_shares_of_the_text_and_of_training(job: Job, store: Store, tmp_path: Path):
    found = measure_store(store, job, scratch=tmp_path / "scratch")
    first, second = found.sides["train"].sources
    assert (first.name, second.name) == ("words.txt", "more.jsonl")
    assert (first.training_share, second.training_share) == (0.75, 0.25)
    assert second.documents == 23
    assert first.byte_share + second.byte_share == pytest.approx(1)
    assert second.byte_share == second.bytes / found.sides["train"].bytes
    assert found.sides["validation"].sources[0].training_share is None


def test_a_document_longer_than_what_is_counted_one_by_one_has_its_place(job: Job, store: Store, tmp_path: Path):
    exact = measure_store(store, job, scratch=tmp_path / "scratch").sides["train"].lengths
    few = Sizes(documents=50, tokens=10_000, counted=8)
    clipped = measure_store(store, job, scratch=tmp_path / "scratch", sizes=few).sides["train"].lengths
    assert (clipped.longest, clipped.mean) == (exact.longest, exact.mean)
    assert clipped.histogram[-1].most == exact.longest
    assert sum(bucket.documents for bucket in clipped.histogram) == sum(bucket.documents for bucket in exact.histogram)


def test_the_page_shows_bars_in_proportion_and_a_sample_and_survives_json(job: Job, store: Store, tmp_path: Path):
    found = measure_store(store, job, scratch=tmp_path / "scratch")
    assert Statistics.from_json(json.loads(json.dumps(found.to_json()))) == found
    page = statistics_text(found)
    bars = re.findall(r"^ *[\d,]+ - +[\d,]+  (█*) *([\d,]+)$", page, re.MULTILINE)
    longest = max(int(count) for _, count in bars)
    assert [len(bar) for bar, _ in bars] == [-(-40 * int(count) // longest) for _, count in bars]
    assert len(found.documents) == 3
    assert all(document in page for document in found.documents)
    assert "left out       1 white space alone, 1 too short" in page
    assert re.search(r"^words\.txt +194 .* 75\.0%$", page, re.MULTILINE)


def test_stats_are_printed_of_a_store_that_is_there_without_building_it_again(words: Path, runjob: Runjob):
    job = ["tests/cases/valid/smallest.yaml", "--set", f"data.path={words}", "--set", BPE]
    job[0] = str(ROOT / job[0])
    first = runjob("prepare", *job)
    assert first.returncode == 0, first.stderr
    again = runjob("prepare", *job, "--stats", "--json")
    assert again.returncode == 0, again.stderr
    numbers = json.loads(again.stdout)
    assert numbers["sides"]["train"]["documents"] + numbers["sides"]["validation"]["documents"] == 200
    assert "found: " in again.stderr
    assert "built: " not in again.stderr
    assert f"prepared: {numbers['store']}" in first.stdout
