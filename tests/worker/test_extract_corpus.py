"""What `runjob extract` reads, and of which it says at once that it can't be read as it was."""

import os
from pathlib import Path

import pytest

from runjob.data.terms import fingerprint, read_terms
from runjob.runner.worker.extract_file import open_corpus
from runjob.runner.worker.extract_models import normalizer_of
from runjob.schemas.errors import JobError
from runjob.schemas.read import read_job, write_job_json
from runjob.schemas.run import RunDir, write_json
from tests.conftest import ROOT


def test_a_sample_is_called_what_it_is_called_everywhere() -> None:
    documents = open_corpus("sample:paleo", field=None, bad_rows=0.0, marked=False).documents()
    assert next(documents).origin == "sample:paleo:1"


def test_text_has_no_fields(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a\n")
    with pytest.raises(JobError, match=r"--field body: .*a\.txt is text, a document a line, and has no fields"):
        open_corpus(str(tmp_path / "a.txt"), field="body", bad_rows=0.0, marked=False)


def test_a_name_that_no_record_can_hold_is_refused(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"caf\xe9.txt")
    path.write_text("a\n")
    with pytest.raises(JobError, match=r"caf\\udce9\.txt': a name that is not UTF-8"):
        open_corpus(str(path), field=None, bad_rows=0.0, marked=False)


def test_terms_are_joined_as_in_training_or_not_at_all(tmp_path: Path) -> None:
    listed = tmp_path / "taxa.txt"
    listed.write_text("Burgess_Shale\nOlenellus\n")
    run = RunDir.create(tmp_path, "paleo_ner")
    values = read_job(ROOT / "jobs/tiny/paleo_ner.yaml", [f"data.tokenizer.terms={{taxa: {listed}}}"])
    write_job_json(run.job, values)
    data = values.job.data
    terms = fingerprint(read_terms(data.tokenizer.terms, where=""))
    write_json(run.data, {"origin": {"tokenizer": {"terms": terms}}})
    joined = normalizer_of(run, data)("of the Burgess  Shale")
    assert joined == "of the Burgess_Shale"
    listed.write_text("Burgess_Shale\n")
    with pytest.raises(JobError, match=r"-\w+: the terms that it joins .*taxa\.txt changed since; put the lists back"):
        normalizer_of(run, data)
