"""What is typed at `runjob export` and `import`, before any network is loaded."""

import pytest

from runjob.runner.cli import dispatch
from runjob.schemas.errors import JobError, NotFoundError


def test_a_format_that_nobody_writes_is_refused_with_those_there_are(capsys, tmp_path):
    with pytest.raises(SystemExit) as left:
        dispatch(["export", str(tmp_path), "--to", str(tmp_path / "out"), "--format", "gguf"])
    assert left.value.code == 2
    assert "sentence-transformers" in capsys.readouterr().err


def test_an_id_that_nobody_has_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("RUNJOB_HOME", str(tmp_path))
    for step in ([], ["--step", "7"]):
        with pytest.raises(NotFoundError, match="nobody"):
            dispatch(["export", "nobody", "--to", str(tmp_path / "out"), *step])


def test_only_what_can_be_read_is_offered(capsys):
    with pytest.raises(SystemExit) as left:
        dispatch(["import", "somewhere", "--format", "word2vec", "--to", "there"])
    assert left.value.code == 2
    assert "annotated_mpnet, canine_mlm" in capsys.readouterr().err.replace("'", "")


def test_what_one_format_alone_takes_is_refused_for_the_other():
    with pytest.raises(JobError, match="are for --format annotated_mpnet; leave them out"):
        dispatch(["import", "somewhere", "--format", "canine_mlm", "--to", "there", "--trust-checkpoint"])
