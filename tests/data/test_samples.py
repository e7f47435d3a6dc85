"""The corpora that the package ships."""

import gzip
import importlib.util
from pathlib import Path

import pytest

from runjob.data.samples import list_samples, locate
from runjob.data.sources import open_source
from runjob.schemas.errors import MissingError

SCRIPT = Path(__file__).parents[2] / "scripts" / "build_sample_dutch.py"


def test_every_sample_is_what_its_listing_says_and_carries_its_licence():
    for sample in list_samples():
        text = gzip.decompress(locate(sample.name).read_bytes()).decode()
        assert len(text) == sample.characters
        assert len(text.split("\n\n")) == sample.documents
        assert sample.size == locate(f"sample:{sample.name}").stat().st_size < 1_500_000
        notice = locate(sample.name).with_name(f"{sample.name}.LICENSE").read_text(encoding="utf-8")
        assert sample.license in notice
        assert f"{sample.documents} documents" in notice


def test_the_packed_sample_holds_no_date():
    assert locate("dutch").read_bytes()[4:8] == bytes(4)


def test_a_page_of_the_dutch_sample_is_a_document(make_text):
    documents = [
        document.text for document in open_source(make_text("sample:dutch", documents="paragraph")).documents()
    ]
    assert len(documents) == 2325
    assert documents[0].startswith("Access2Base is een LibreOffice BASIC-bibliotheek met macro's")
    paragraphs = [paragraph for document in documents for paragraph in document.split("\n")]
    assert len(paragraphs) == len(set(paragraphs)) == 24_839


def test_an_unknown_sample_is_answered_with_those_there_are():
    with pytest.raises(MissingError, match="sample:german: this runjob ships no such sample; it has dutch"):
        locate("german")


@pytest.fixture
def script():
    spec = importlib.util.spec_from_file_location("build_sample_dutch", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_sample_keeps_dutch_paragraphs_once_and_in_order(script, tmp_path: Path):
    (tmp_path / "a.html").write_text(
        "<head><title>Weg</title></head><body><h1>De titel van de pagina</h1>"
        "<p>Kies <span class='emph'>Invoegen - Bijschrift</span> in het&nbsp;menu "
        "<span class='MAC'>Command</span><span>Ctrl</span>.</p>"
        "<p>This is a sentence that nobody has translated.</p><p>Te kort</p>"
        "<ul><li>Dit is een punt<ul><li>en dit is er een onder</li></ul></li></ul><footer><p>Dit is niet de tekst</p>"
    )
    (tmp_path / "b.html").write_text("<p>De titel van de pagina</p><p>The page is not in the other language.</p>")
    assert list(script.dutch_documents([tmp_path / "a.html", tmp_path / "b.html"])) == [
        [
            "De titel van de pagina",
            "Kies Invoegen - Bijschrift in het menu Ctrl.",
            "Dit is een punt",
            "en dit is er een onder",
        ]
    ]
