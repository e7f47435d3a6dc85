"""What is said of a corpus before the first step, and where nothing is."""

import json
from pathlib import Path

import pytest
from transformers import BertConfig, CanineConfig

from runjob.data.labelling import labelling_of
from runjob.data.prepare import prepare
from runjob.data.store import Store
from runjob.runner.worker.advice import above_guessing
from runjob.runner.worker.corpus_advice import advise_on_corpus
from runjob.runner.worker.objective import guessed_among
from runjob.schemas.read import read_job
from tests.conftest import ROOT

NAMES = "aa.com\nbb.com\n中文.com\ncc.com\n"


@pytest.mark.parametrize(
    ("least", "table", "said"),
    [
        ("4", 256, ["few_documents", "characters_beyond"]),
        ("3", 0x4E2D, ["characters_beyond"]),
        ("null", 0x110000, []),
    ],
)
def test_few_documents_and_characters_beyond_the_table_are_said_where_there_are_such(
    tmp_path: Path, least, table, said
):
    (tmp_path / "names.txt").write_text(NAMES, encoding="utf-8")
    sets = [
        f"data.path={tmp_path / 'names.txt'}",
        "data.split={kind: first, validation: 1}",
        f"data.warn_below={least}",
    ]
    job = read_job(ROOT / "jobs" / "tiny" / "canine_domains.yaml", sets).job
    store = Store.open(prepare(job.data, seed=1, cache=tmp_path / "cache", report=lambda progress: None).path)
    told = advise_on_corpus(job, store, CanineConfig(character_table=table))
    assert [one.sign.name for one in told] == said
    events = {one.sign.name: one.to_event() for one in told}
    if "few_documents" in said:
        event = events["few_documents"]
        assert (event["value"], event["threshold"]) == (3, 4)
        assert event["advice"].startswith("3 training documents are fewer than data.warn_below 4:")
    if "characters_beyond" in said:
        event = events["characters_beyond"]
        # of the 18 characters of the training side: 中 and 文 are U+4E2D and U+6587
        assert event["value"] == pytest.approx(2 / 18)
        assert event["advice"].startswith(f"11.11% of the characters (2 different ones) lie beyond the {table:,} that")


def test_a_head_for_kinds_of_documents_has_no_table_to_go_beyond(tmp_path: Path):
    lines = [json.dumps({"text": f"{name}{number}", "label": "site"}) for number, name in enumerate(NAMES.split() * 4)]
    (tmp_path / "names.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    sets = [f"data.path={tmp_path / 'names.jsonl'}", "data.split={kind: first, validation: 1}"]
    job = read_job(ROOT / "tests" / "cases" / "valid" / "sequence_classification.yaml", sets).job
    found = prepare(job.data, seed=1, cache=tmp_path, report=lambda progress: None, labelling=labelling_of(job))
    assert advise_on_corpus(job, Store.open(found.path), CanineConfig(character_table=256)) == []


@pytest.mark.parametrize(
    ("case", "among"), [("smallest", 300), ("sequence_classification", None), ("sentence_embedding", None)]
)
def test_only_who_predicts_tokens_is_compared_with_a_guess_among_them(case: str, among: int | None):
    job = read_job(ROOT / "tests" / "cases" / "valid" / f"{case}.yaml").job
    assert guessed_among(job, BertConfig(vocab_size=300)) == among
    assert len(above_guessing(9.0, classes=among)) == (among is not None)
