"""sample:paleo_ner, sample:paleo_gold and the scripts that make them: offsets hold, and relations are those of the
pointers of WordNet, or those that a reader wrote down."""

import gzip
import json
from pathlib import Path

import pytest

from runjob.data.samples import locate
from tests.docs.scripts import load_script

LABELS = {"TAXON", "ORGANISM", "ANATOMY", "TIME", "MINERAL", "LOC"}
RELATIONS = {"OCCURS_IN", "IS_A", "MEMBER_OF", "PART_OF"}


def rows(name: str) -> list[dict]:
    return [json.loads(line) for line in gzip.decompress(locate(name).read_bytes()).splitlines()]


@pytest.fixture(scope="module")
def silver() -> list[dict]:
    return rows("paleo_ner")


def triples(row: dict) -> set[tuple[str, str, str]]:
    names = [row["text"][one["start"] : one["end"]] for one in row["entities"]]
    return {(names[one["head"]], one["label"], names[one["tail"]]) for one in row["relations"]}


def check_spans(row: dict) -> None:
    text, end = row["text"], 0
    for entity in row["entities"]:
        assert set(entity) == {"start", "end", "label"}
        assert end <= entity["start"] < entity["end"] <= len(text), "sorted, apart, inside of the text"
        name = text[entity["start"] : entity["end"]]
        assert name == name.strip()
        assert not (text[entity["start"] - 1 : entity["start"]] + name[0]).isalnum() or entity["start"] == 0
        end = entity["end"]


@pytest.mark.parametrize("name", ["paleo_ner", "paleo_gold"])
def test_every_span_is_a_name_in_its_text_and_every_relation_joins_two_of_them(name: str):
    for row in rows(name):
        check_spans(row)
        assert {entity["label"] for entity in row["entities"]} <= LABELS
        pairs = [(one["head"], one["tail"]) for one in row["relations"]]
        assert len(pairs) == len(set(pairs)), "a pair has one relation"
        for head, tail in pairs:
            assert head != tail
            assert {head, tail} <= set(range(len(row["entities"])))
        assert {one["label"] for one in row["relations"]} <= RELATIONS
        assert set(row) == {"text", "entities", "relations", "source"}


def test_every_label_and_relation_is_met_often_enough_to_be_learnt(silver: list[dict]):
    for label in LABELS:
        assert sum(entity["label"] == label for row in silver for entity in row["entities"]) > 200
    for label in RELATIONS:
        assert sum(one["label"] == label for row in silver for one in row["relations"]) > 400
    assert len({row["text"] for row in silver}) == len({row["source"] for row in silver}) == len(silver)
    assert sum(not row["entities"] for row in silver) == 500


def test_what_wordnet_says_of_an_allosaur_is_what_the_sample_says(silver: list[dict]):
    [row] = [row for row in silver if row["text"].startswith("allosaur ")]
    assert triples(row) == {
        ("allosaur", "OCCURS_IN", "Jurassic"),
        ("allosaur", "IS_A", "dinosaur"),
        ("allosaurus", "OCCURS_IN", "Jurassic"),
        ("allosaurus", "IS_A", "dinosaur"),
        ("tyrannosaurus", "IS_A", "dinosaur"),
    }
    assert row["source"] == "wn-01714231"


def test_the_gold_sentences_are_what_the_script_makes_of_the_names_that_were_written_down(tmp_path: Path):
    load_script("make_paleo_gold").build(tmp_path)
    for file in tmp_path.iterdir():
        assert file.read_bytes() == locate("paleo_gold").with_name(file.name).read_bytes()


def test_no_gold_sentence_is_a_silver_one(silver: list[dict]):
    gold = rows("paleo_gold")
    assert len({row["text"] for row in gold}) == 200
    assert not {row["text"] for row in gold} & {row["text"] for row in silver}
    [row] = [row for row in gold if row["text"].startswith("To be short")]
    assert triples(row) == {("whale", "IS_A", "fish"), ("tail", "PART_OF", "fish")}


@pytest.mark.parametrize(
    ("marks", "said"),
    [
        ("  ORGANISM whale\n  ORGANISM fin", "no ORGANISM 'fin' from character 7 on: a whale, a fish"),
        ("  ORGANISM whale\n  1 IS_A 2", "no relation '1 IS_A 2': a whale, a fish"),
        ("  BEAST whale", "no BEAST 'whale' from character 0 on: a whale, a fish"),
    ],
)
def test_what_was_written_down_wrongly_is_said(marks: str, said: str):
    with pytest.raises(SystemExit) as ended:
        load_script("make_paleo_gold").row_of(f"Nowhere\na whale, a fish\n{marks}")
    assert str(ended.value) == said


NOUNS = """\
  1 This software and database is being provided
00004475 03 n 01 organism 0 000 | a living thing
00007846 03 n 01 person 0 001 @ 00004475 n 0000 | a human being
00027167 03 n 01 location 0 000 | a point
00100000 05 n 02 reptile 0 reptilian 0 001 @ 00004475 n 0000 | a cold-blooded vertebrate
00100001 05 n 02 lizard 0 Lacerta_viva 0 002 @ 00100000 n 0000 #m 00100002 n 0000 | a reptile of Ozia with wings
00100002 05 n 02 Lacerta 0 genus_Lacerta 0 001 @ 07992450 n 0000 | type genus of reptiles
00100003 05 n 01 wing 0 002 @ 05220461 n 0000 #p 00100001 n 0000 | a limb of any lizard; "the lizard lost a wing"
00100004 18 n 01 herpetologist 0 001 @ 00007846 n 0000 | someone who studies reptiles
00100005 15 n 01 Ozia 0 001 @i 00027167 n 0000 | a country of wizards
00100006 15 n 01 dell 0 001 @ 00027167 n 0000 | a small valley
00100007 28 n 01 Glacial_period 0 001 #p 15116283 n 0000 | a time of fossil lizards
00100008 06 n 01 spoon 0 000 | a tool to eat with
05220461 08 n 01 body_part 0 000 | any part of an organism
07992450 14 n 01 taxonomic_group 0 000 | animals related
15116283 28 n 01 geological_time 0 000 | the time of the formation of the earth
"""


@pytest.fixture
def small(tmp_path: Path):
    script = load_script("make_paleo_ner")
    (tmp_path / "data.noun").write_text(NOUNS)
    index: dict[str, list[str]] = {}
    for line in NOUNS.splitlines()[1:]:
        offset, _, _, count, *rest = line.split(" | ")[0].split()
        for name in rest[: 2 * int(count, 16) : 2]:
            index.setdefault(name.lower(), []).append(offset)
    noun = "".join(f"{name} n {len(at)} 0 {len(at)} 0 {' '.join(at)}\n" for name, at in sorted(index.items()))
    (tmp_path / "index.noun").write_text(noun)
    for part, words in (("verb", "wing v\n"), ("adj", ""), ("adv", "")):
        (tmp_path / f"index.{part}").write_text(words)
    (tmp_path / "cntlist.rev").write_text("wing%1:08:00:: 1 9\nwing%2:30:00:: 1 2\nspoon%2:30:00:: 1 1\n")
    (tmp_path / "noun.exc").write_text("")
    roots = {root for roots in script.ROOTS.values() for root in roots} | set(script.EXCEPT)
    missing = [root for root in sorted(roots) if root not in NOUNS]
    with (tmp_path / "data.noun").open("a") as file:
        file.writelines(f"{root} 03 n 01 root{root} 0 000 | nothing\n" for root in missing)
    return script, script.read_wordnet(tmp_path)


def marked(row: dict) -> list[tuple[str, str]]:
    return [(row["text"][one["start"] : one["end"]], one["label"]) for one in row["entities"]]


def test_a_name_has_the_label_of_the_place_of_its_meaning(small):
    script, wordnet = small
    row = script.sentence(wordnet, "00100001")
    assert row["text"] == "lizard (also Lacerta viva): a reptile of Ozia with wings"
    assert marked(row) == [
        ("lizard", "ORGANISM"),
        ("Lacerta viva", "TAXON"),
        ("reptile", "ORGANISM"),
        ("Ozia", "LOC"),
        ("wings", "ANATOMY"),
    ]
    assert triples(row) == {
        *((name, "IS_A", "reptile") for name in ("lizard", "Lacerta viva")),
        *((name, "OCCURS_IN", "Ozia") for name in ("lizard", "Lacerta viva")),
        *(("wings", "PART_OF", name) for name in ("lizard", "Lacerta viva")),
    }


def test_a_rank_is_no_part_of_a_name_nor_is_an_example_part_of_a_sentence(small):
    script, wordnet = small
    assert marked(script.sentence(wordnet, "00100002")) == [
        ("Lacerta", "TAXON"),
        ("Lacerta", "TAXON"),
        ("reptiles", "ORGANISM"),
    ]
    row = script.sentence(wordnet, "00100003")
    assert row["text"] == "wing: a limb of any lizard"
    assert triples(row) == {("wing", "PART_OF", "lizard")}


def test_persons_and_common_places_have_no_label_and_a_time_may_be_part_of_times(small):
    script, wordnet = small
    assert marked(script.sentence(wordnet, "00100004")) == [("reptiles", "ORGANISM")]
    assert marked(script.sentence(wordnet, "00100006")) == []
    assert marked(script.sentence(wordnet, "00100007")) == [("Glacial period", "TIME"), ("lizards", "ORGANISM")]


def test_what_names_a_time_or_a_fossil_comes_before_the_rest_and_places_are_left_out(small):
    script, wordnet = small
    [first] = script.chosen(wordnet, naming=1, silent=0)
    assert first["source"] == "wn-00100007"
    every = script.chosen(wordnet, naming=99, silent=1)
    assert "wn-00100005" not in {row["source"] for row in every}
    assert sum(not row["entities"] for row in every) == 1
    assert every == script.chosen(wordnet, naming=99, silent=1)
