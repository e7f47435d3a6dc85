"""What `runjob extract` settles before anything is computed: which runs fit together."""

from pathlib import Path

import pytest

from runjob.runner.commands_extract import refuse_strangers
from runjob.schemas.errors import JobError
from runjob.schemas.read import read_job, write_job_json
from runjob.schemas.run import RunDir
from tests.conftest import ROOT, Runjob

TINY = ROOT / "jobs" / "tiny"


def run_of(tmp_path: Path, job: str, *sets: str) -> RunDir:
    run = RunDir.create(tmp_path, job)
    write_job_json(run.job, read_job(TINY / f"{job}.yaml", sets))
    return run


def test_a_tagger_that_never_finds_what_the_relations_are_of_is_refused(tmp_path: Path) -> None:
    ner, re = run_of(tmp_path, "paleo_ner"), run_of(tmp_path, "paleo_re")
    refuse_strangers(ner, re)
    other = run_of(tmp_path, "paleo_re", "objective.pairs.types=[TAXON>TIME, FISH>LOC]")
    with pytest.raises(JobError, match=r"are of FISH, LOC, TAXON, TIME, and paleo_ner-\w+ finds .*: no FISH; name an"):
        refuse_strangers(ner, other)


def test_relations_of_any_types_fit_every_tagger(tmp_path: Path) -> None:
    ner = run_of(tmp_path, "paleo_ner", "objective.labels=[FISH]")
    refuse_strangers(ner, run_of(tmp_path, "paleo_re", "objective.pairs.types=null"))


def test_all_that_is_wrong_with_the_runs_and_the_corpus_is_said_at_once(runjob: Runjob) -> None:
    said = runjob("extract", "nothere.txt", "--ner", "nobody", "--re", "none@latest", "-o", "out.jsonl")
    assert said.returncode == 2
    nobody, none, nothere = said.stderr.splitlines()
    assert nobody.startswith("runjob: nobody: no such job under ")
    assert none.startswith("none@latest: no such job under ")
    assert nothere == "nothere.txt: no such file"
