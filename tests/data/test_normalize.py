"""Normalised documents: the same text with and without the alignment, every character back to where it came from, and
all that is done with a document going by it."""

import dataclasses
import json
import unicodedata
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from runjob.data import tokenizers
from runjob.data.normalize import NOTHING, Normalizer, from_punycode, to_punycode
from runjob.data.prepare import prepare
from runjob.data.store import Store
from runjob.schemas.errors import JobError
from runjob.schemas.job_data import FirstSplit, Normalize
from runjob.schemas.read import read_job
from tests.conftest import ROOT

TERMS = ("Burgess_Shale", "Lower_Burgess_Shale", "sea star", "Olenellus")
ODD = "aAe .\t\n_\u0301\u0308\u0323İΣßſﬁＡ각\u1161\u11a8\u09c7\u09be\uff76\uff9e\u3000\u3002Ω"
WHOLE = ["Burgess Shale", "Burgess\n_Shale", "xn--krnten-bua", "XN--KRNTEN-BUA.at", "kärnten.at"]
RAW = st.lists(st.characters() | st.sampled_from(ODD) | st.sampled_from(WHOLE), max_size=25).map("".join)
SETTINGS = st.builds(
    Normalize,
    unicode=st.sampled_from(["NFC", "NFKC", None]),
    whitespace=st.sampled_from(["keep", "strip", "collapse"]),
    lowercase=st.booleans(),
    idn=st.sampled_from(["ascii", "unicode", None]),
    join_terms=st.booleans(),
)


def normalizer(wanted: Normalize) -> Normalizer:
    return Normalizer(wanted, terms=TERMS if wanted.join_terms else ())


def only(**changes: object) -> Normalize:
    return dataclasses.replace(NOTHING, **changes)


@settings(max_examples=300, deadline=None)
@given(raw=RAW, wanted=SETTINGS)
@example(raw="ΑΣ ΣΑΣ", wanted=only(lowercase=True))
@example(raw="\u1112\u1161\u11ab e\u0323\u0301", wanted=only(unicode="NFC"))
@example(raw=" \uff76\uff9e ", wanted=only(unicode="NFKC", whitespace="collapse"))
def test_the_aligned_text_is_the_text_and_its_spans_go_through_the_raw_text_in_order(raw, wanted):
    aligned = normalizer(wanted).align(raw)
    assert aligned.text == normalizer(wanted)(raw)
    assert len(aligned.spans) == len(aligned.text)
    assert all(0 <= begin < end <= len(raw) for begin, end in aligned.spans)
    for (begin, end), (next_begin, next_end) in zip(aligned.spans, aligned.spans[1:], strict=False):
        assert begin <= next_begin and end <= next_end


@settings(max_examples=200, deadline=None)
@given(raw=RAW, wanted=SETTINGS.filter(lambda wanted: not wanted.join_terms and wanted.idn is None))
def test_a_piece_of_the_raw_text_becomes_what_it_is_aligned_with(raw, wanted):
    """The way back: the raw text that a character came from, normalised by itself, holds that character."""
    wanted = dataclasses.replace(wanted, whitespace="keep")
    aligned = normalizer(wanted).align(raw)
    for character, (begin, end) in zip(aligned.text, aligned.spans, strict=True):
        assert character in normalizer(wanted)(raw[begin:end]) + "ς"  # a sigma alone is never at the end of a word
    outside = "".join(raw[end:begin] for (_, end), (begin, _) in zip(aligned.spans, aligned.spans[1:], strict=False))
    assert outside == ""


@settings(max_examples=100, deadline=None)
@given(raw=RAW, whitespace=st.sampled_from(["strip", "collapse"]))
def test_only_white_space_is_lost(raw, whitespace):
    aligned = normalizer(only(whitespace=whitespace)).align(raw)
    kept = {place for begin, end in aligned.spans for place in range(begin, end)}
    assert all(raw[place].isspace() for place in range(len(raw)) if place not in kept)


def test_each_step_by_hand():
    assert normalizer(only(unicode="NFC")).align("e\u0301x").spans == ((0, 2), (2, 3))
    assert normalizer(only(unicode="NFKC"))("ﬁn Ａ") == "fin A"
    assert normalizer(only(whitespace="strip"))("  a \t b\n") == "a \t b"
    assert normalizer(only(whitespace="collapse")).align("  a \t b\n").spans == ((2, 3), (3, 6), (6, 7))
    assert normalizer(only(lowercase=True))("Oἷ ΣΑΣ") == "oἷ σας"
    joined = normalizer(only(join_terms=True)).align("the Lower Burgess\n Shale, Burgess_Shale; Burgess Shales")
    assert joined.text == "the Lower_Burgess_Shale, Burgess_Shale; Burgess Shales"
    assert joined.spans[4] == joined.spans[22] == (4, 24)
    assert normalizer(only(join_terms=True))("a sea_star and sea  star") == "a sea star and sea star"
    both = normalizer(only(lowercase=True, idn="ascii"))
    assert both("KÄRNTEN.at") == "xn--krnten-bua.at"
    assert both("例え。JP") == both("例え．jp") == both("例え｡jp") == "xn--r8jz45g.jp"
    assert normalizer(only(idn="unicode"))("xn--r8jz45g。jp") == "例え.jp"
    assert both.align("Ä.at").spans == ((0, 1),) * 7 + ((1, 2), (2, 3), (3, 4))


def test_punycode_is_that_of_the_registries_and_comes_back():
    # what IDNA 2008 gives for these names
    names = {"kärnten": "xn--krnten-bua", "faß": "xn--fa-hia", "例え": "xn--r8jz45g", "рф": "xn--p1ai", "ö": "xn--nda"}
    for name, written in names.items():
        assert (to_punycode(name), from_punycode(written)) == (written, name)
    for label in ("xn--", "xn--a", "xn--99999999999", "xn--\u00e4", "plain", "xn--krnten-buA!"):
        assert from_punycode(label) == label or to_punycode(from_punycode(label)) == label.lower()


@settings(max_examples=200, deadline=None)
@given(label=st.text(st.characters(codec="utf-8", exclude_characters=" ."), min_size=1, max_size=20))
def test_a_label_that_is_written_in_ascii_is_read_as_it_was(label):
    written = to_punycode(label)
    assert written == label or (written.isascii() and from_punycode(written) == label)


def test_sides_copies_lengths_and_tokens_go_by_the_normalised_text(make_text, tmp_path: Path, no_report):
    lines = [f"Zin   nummer {number} over de zee" for number in range(20)]
    (tmp_path / "a.txt").write_text("".join(f"{line}\n" for line in [*lines, " ZIN nummer 3 over  de zee ", "\u3000"]))
    (tmp_path / "b.txt").write_text("".join(f"{line}\n" for line in lines).replace("   ", " ").lower())
    wanted = only(whitespace="collapse", lowercase=True)
    stores = []
    for file, change in (("a.txt", wanted), ("b.txt", NOTHING)):
        data = make_text(
            tmp_path / file,
            split=FirstSplit(kind="first", validation=4, test=None),
            normalize=change,
            deduplicate=True,
            min_length=12,
        )
        prepared = prepare(data, seed=1, cache=tmp_path / "cache", report=no_report)
        stores.append(Store.open(prepared.path))
    one, other = stores
    assert one.summary.left_out.duplicates == 1
    assert one.summary.fingerprint != other.summary.fingerprint
    assert one.train.tokens[:].tolist() == other.train.tokens[:].tolist()
    assert one.validation.tokens[:].tolist() == other.validation.tokens[:].tolist()
    tokenizer = tokenizers.load_saved(one.tokenizer)
    assert tokenizer.decode(one.validation.tokens[:].tolist()).startswith(
        "<|endoftext|>zin nummer 0 over de zee<|endoftext|>"
    )


def test_what_becomes_empty_is_left_out_and_counted(make_text, tmp_path: Path, no_report):
    (tmp_path / "a.txt").write_text("".join(f"regel {number}\n" for number in range(9)) + "\u115f\u200b\n \u2003\n")
    split = FirstSplit(kind="first", validation=2, test=None)
    data = make_text(tmp_path / "a.txt", split=split, normalize=only(whitespace="strip"))
    assert prepare(data, seed=1, cache=tmp_path / "c", report=no_report).summary.left_out.empty == 1


def test_nothing_asked_for_finds_the_store_that_was_there_before(make_text, words, tmp_path: Path, no_report):
    origin = json.loads(
        (prepare(make_text(words), seed=1, cache=tmp_path, report=no_report).path / "store.json").read_text()
    )
    assert "normalize" not in origin["origin"]
    asked = make_text(words, normalize=only(unicode="NFC"))
    origin = json.loads((prepare(asked, seed=1, cache=tmp_path, report=no_report).path / "store.json").read_text())
    assert origin["origin"]["normalize"]["unicode"] == f"NFC {unicodedata.unidata_version}"


def test_terms_are_joined_before_they_are_tokens(make_text, tmp_path: Path, no_report):
    (tmp_path / "terms.txt").write_text("Burgess_Shale\n")
    (tmp_path / "a.txt").write_text("fauna of the Burgess Shale beds\n" * 3 + "the Burgess  Shale\n")
    data = make_text(
        tmp_path / "a.txt",
        split=FirstSplit(kind="first", validation=1, test=None),
        normalize=only(join_terms=True),
        tokenizer=dataclasses.replace(make_text().tokenizer, terms={"strata": str(tmp_path / "terms.txt")}),
    )
    store = Store.open(prepare(data, seed=1, cache=tmp_path / "cache", report=no_report).path)
    whole = tokenizers.load_saved(store.tokenizer).get_vocab()["Burgess_Shale"]
    assert store.train.tokens[:].tolist().count(whole) == 3


def test_joining_terms_without_any_is_a_mistake_in_the_job():
    smallest = ROOT / "tests" / "cases" / "valid" / "smallest.yaml"
    with pytest.raises(JobError, match=r"data\.normalize\.join_terms=true: true, and no terms are named"):
        read_job(smallest, ["data.normalize.join_terms=true"])
