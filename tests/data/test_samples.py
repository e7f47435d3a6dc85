"""The corpora that the package ships."""

import gzip
import importlib.util
from pathlib import Path

import pytest

from runjob.data import tokenizers
from runjob.data.samples import list_samples, locate, locate_tokenizer
from runjob.data.sources import open_source
from runjob.schemas.errors import MissingError
from runjob.schemas.job_data import PretrainedTokenizer, TrainedTokenizer
from runjob.schemas.read import read_job
from tests.conftest import ROOT

SCRIPTS = Path(__file__).parents[2] / "scripts"


def test_every_sample_is_what_its_listing_says_and_carries_its_licence():
    for sample in list_samples():
        text = gzip.decompress(locate(sample.name).read_bytes()).decode()
        assert len(text) == sample.characters
        documents = text.split("\n\n") if sample.document == "paragraph" else text.splitlines()
        assert len(documents) == sample.documents
        assert sample.size == locate(f"sample:{sample.name}").stat().st_size < 1_500_000
        notice = locate(sample.name).with_name(f"{sample.name}.LICENSE").read_text(encoding="utf-8")
        assert sample.license in notice
        assert f"{sample.documents} documents" in notice


def test_the_packed_samples_hold_no_date():
    for sample in list_samples():
        assert locate(sample.name).read_bytes()[4:8] == bytes(4)


def test_a_page_of_the_dutch_sample_is_a_document(make_text):
    documents = [
        document.text for document in open_source(make_text("sample:dutch", documents="paragraph")).documents()
    ]
    assert len(documents) == 2325
    assert documents[0].startswith("Access2Base is een LibreOffice BASIC-bibliotheek met macro's")
    paragraphs = [paragraph for document in documents for paragraph in document.split("\n")]
    assert len(paragraphs) == len(set(paragraphs)) == 24_839


def test_what_a_sample_says_of_its_use_is_a_data_section():
    smallest = ROOT / "tests" / "cases" / "valid" / "smallest.yaml"
    for sample in list_samples():
        section = (
            sample.data.removesuffix("}")
            + ", sequence_length: 16, tokenizer: {kind: train, algorithm: bpe, vocab_size: 300}}"
        )
        [path] = read_job(smallest, [f"data={section}"]).job.data.path
        assert locate(path) == sample.path


def test_the_dutch_tokenizer_is_the_one_that_a_job_trains_on_all_of_the_sample(make_text):
    shipped = tokenizers.load_pretrained(
        PretrainedTokenizer(kind="pretrained", path="sample:dutch", revision=None, terms={})
    )
    texts = [document.text for document in open_source(make_text("sample:dutch", documents="paragraph")).documents()]
    settings = TrainedTokenizer(kind="train", algorithm="bpe", vocab_size=8192, terms={})
    assert tokenizers.fingerprint(shipped) == tokenizers.fingerprint(tokenizers.train(lambda: texts, settings))
    [dutch] = [sample for sample in list_samples() if sample.tokenizer is not None]
    assert (dutch.name, dutch.tokenizer) == ("dutch", f"byte-level BPE of {len(shipped):,} tokens")


def test_an_unknown_tokenizer_of_ours_is_answered_with_those_there_are():
    with pytest.raises(MissingError, match="sample:english: this runjob ships no such tokenizer; it has sample:dutch"):
        locate_tokenizer("sample:english")


def test_an_unknown_sample_is_answered_with_those_there_are():
    with pytest.raises(
        MissingError,
        match="sample:german: this runjob ships no such sample; it has domains, domains_labelled, dutch, english",
    ):
        locate("german")


def load(name: str):
    spec = importlib.util.spec_from_file_location(name, SCRIPTS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_sample_keeps_dutch_paragraphs_once_and_in_order(tmp_path: Path):
    (tmp_path / "a.html").write_text(
        "<head><title>Weg</title></head><body><h1>De titel van de pagina</h1>"
        "<p>Kies <span class='emph'>Invoegen - Bijschrift</span> in het&nbsp;menu "
        "<span class='MAC'>Command</span><span>Ctrl</span>.</p>"
        "<p>This is a sentence that nobody has translated.</p><p>Te kort</p>"
        "<ul><li>Dit is een punt<ul><li>en dit is er een onder</li></ul></li></ul><footer><p>Dit is niet de tekst</p>"
    )
    (tmp_path / "b.html").write_text("<p>De titel van de pagina</p><p>The page is not in the other language.</p>")
    assert list(load("build_sample_dutch").dutch_documents([tmp_path / "a.html", tmp_path / "b.html"])) == [
        [
            "De titel van de pagina",
            "Kies Invoegen - Bijschrift in het menu Ctrl.",
            "Dit is een punt",
            "en dit is er een onder",
        ]
    ]


def test_the_samples_are_read_as_their_listing_says(make_text, make_jsonl):
    english = open_source(make_text("sample:english", documents="paragraph")).documents()
    assert next(english).text.startswith("CHAPTER 1. Loomings.\nCall me Ishmael.")
    assert sum(1 for _ in english) == 164
    domains = [document.text for document in open_source(make_text("sample:domains")).documents()]
    assert len(set(domains)) == len(domains) == 100_000
    paleo = [document.text for document in open_source(make_jsonl("sample:paleo")).documents()]
    assert len(paleo) == 16_437
    assert any(text.startswith("Cretaceous (also Cretaceous period") for text in paleo)


def test_english_documents_are_chapters_in_the_order_of_the_book_and_then_addresses(tmp_path: Path):
    texts = {
        "moby-dick/data/chapter_10.txt": "Ten.\r\n\r\nA line\r\nbroken in two.\r\n",
        "moby-dick/data/chapter_9.txt": "Nine.",
        "moby-dick/data/epilogue.txt": "The end.",
        "sotu/data/1800_somebody.txt": "Fellow citizens.",
        "sotu/data/1801_somebody.txt": "Another year.",
    }
    for name, text in texts.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, newline="")
    documents = list(load("build_samples").english_documents(tmp_path))
    assert documents == [["Nine."], ["Ten.", "A line broken in two."], ["The end."], ["Fellow citizens."]]


def test_domains_are_whole_names_once_in_an_order_that_grows_at_the_end_only():
    script = load("build_samples")
    packed = b"".join(
        bytes([flags, len(label)]) + label for flags, label in [(0, b"com"), (0x80, b"a.example.com"), (0x80, b"dev")]
    )
    assert list(script.preloaded_hosts(packed)) == ["a.example.com"]
    names = ["*.A.example.com.", "a.example.com", "no dots", "b.nl", "-c.nl", "1.2.3.4", "xn--e1afmkfd.xn--p1ai"]
    chosen = script.chosen_domains(names, count=9)
    assert sorted(chosen) == ["a.example.com", "b.nl", "xn--e1afmkfd.xn--p1ai"]
    assert script.chosen_domains(names, count=2) == chosen[:2]


NOUNS = """\
  1 This software and database is being provided
00000001 17 n 01 rock 0 001 ~ 00000002 n 0000 | a lump of hard stone
00000002 17 n 02 sandstone 0 grit_stone 0 002 @ 00000001 n 0000 ~ 00000003 n 0000 | a rock of sand
00000003 17 n 01 flagstone 0 000 | a slab
00000007 27 n 01 mineral 0 001 ~i 00000008 n 0000 | a solid
00000008 27 n 01 fossil_resin 0 001 ~ 00000009 n 0000 | a fossil of resin
00000009 27 n 01 amber 0 000 | yellow
00000004 05 n 02 cat 0 true_cat 0 000 | feline mammal
00000005 06 n 01 spoon 0 000 | a tool
00000006 06 n 01 cast 0 001 ~ 00000005 n 0000 | a fossil in the form of a mold
"""


def test_paleo_takes_kinds_of_rocks_animals_and_what_is_said_of_fossils():
    rows = list(load("build_samples").paleo_rows(NOUNS.splitlines(keepends=True)))
    assert [row["title"] for row in rows] == [
        "rock",
        "sandstone",
        "flagstone",
        "cat",
        "cast",
        "mineral",
        "fossil resin",
        "amber",
    ]
    assert rows[1] == {
        "id": "wn-00000002",
        "title": "sandstone",
        "text": "sandstone (also grit stone): a rock of sand",
    }


def test_the_term_lists_are_what_the_script_finds_in_the_glosses(tmp_path: Path):
    load("build_terms").build(tmp_path)
    for file in tmp_path.iterdir():
        assert file.read_bytes() == locate("paleo").with_name(file.name).read_bytes()
    times = gzip.decompress(locate("paleo_times").read_bytes()).decode().split()
    assert {"Cambrian", "Lower_Carboniferous", "Phanerozoic"} < set(times)
    taxa = gzip.decompress(locate("paleo_taxa").read_bytes()).decode().split()
    assert {"Felis", "Accipitridae"} < set(taxa)
