"""What of the shipped corpora travels with a run: those that its job names, wherever it names them."""

import pytest

from runjob.runner.submit import sample_names
from runjob.schemas.read import read_job
from tests.conftest import ROOT

VALID = ROOT / "tests" / "cases" / "valid"


@pytest.mark.parametrize(
    ("file", "sets", "names"),
    [
        ("mix.yaml", [], ("dutch", "paleo")),
        ("files.yaml", ["data.split={kind: files, validation: 'sample:english'}"], ("dutch", "english")),
        ("files.yaml", ["data.path=[a.txt, b.txt]"], ()),
        ("hub.yaml", [], ()),
    ],
)
def test_samples_are_found_as_corpus_as_source_and_as_side(file: str, sets: list[str], names: tuple[str, ...]):
    assert sample_names(read_job(VALID / file, sets)) == names
