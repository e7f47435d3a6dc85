"""Terms become tokens that stand for whole words: where they match, what stays as it was, which id each has."""

import json
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer, DebertaV2Tokenizer

from runjob.data import tokenizers
from runjob.data.extend import added_tokens, extend
from runjob.data.terms import Repeated, Term, read_table, read_terms
from runjob.data.vocabulary import save_extended
from runjob.data.words import word_boundaries
from runjob.schemas.errors import DataError, MissingError
from runjob.schemas.job_data import TrainedTokenizer, TrainedUnigram, TrainedWordPiece

SENTENCES = [
    "the trilobite Redlichia lived in the Cambrian, (among) other sponges; its eyes were large.",
    "a quick brown fox jumps over the lazy dog - 0123456789 'and' St_age 10 of the Whee-ler Formation!",
    "Pack MY BOX with five dozen LIQUOR jugs? The Kärn-tens beds, naïve & old/new: et cetera",
] * 3
BERT = {"marks": "bert", "terms": {}}
KINDS = {
    "wordpiece": TrainedWordPiece(kind="train", algorithm="wordpiece", vocab_size=190, lowercase=False, **BERT),
    "uncased": TrainedWordPiece(kind="train", algorithm="wordpiece", vocab_size=150, lowercase=True, **BERT),
    "unigram": TrainedUnigram(kind="train", algorithm="unigram", vocab_size=110, lowercase=False, terms={}),
    "bpe": TrainedTokenizer(kind="train", algorithm="bpe", vocab_size=320, terms={}),
}
BASES = {name: tokenizers.train(lambda: iter(SENTENCES), kind) for name, kind in KINDS.items()}
# as transformers builds the one of DeBERTa-v3, which would build its engine anew wherever it is loaded
pieces = json.loads(BASES["unigram"].backend_tokenizer.to_str())["model"]["vocab"]
BASES["deberta"] = DebertaV2Tokenizer(vocab=[(piece, score) for piece, score in pieces], unk_id=1)
WORDS = ("Olenellus", "Stage_10", "ther", "Kärnten", "Wheeler", "T-rex")
every_kind = pytest.mark.parametrize("kind", sorted(BASES))


def terms(*words: str, category: str = "taxa") -> list[Term]:
    return [Term(text=text, category=category, origin=f"{category}.txt:{n}") for n, text in enumerate(words, 1)]


EXTENDED = {name: extend(base, terms(*WORDS), before=None) for name, base in BASES.items()}


def cut(tokenizer, text: str) -> list[int]:
    return tokenizer(text, add_special_tokens=False).input_ids


@every_kind
def test_a_term_is_one_token_alone_in_a_sentence_and_beside_punctuation(kind):
    tokenizer, table = EXTENDED[kind]
    for word in WORDS:
        token = table.categories["taxa"][word]
        for text in (word, f"  {word} lived", f"the {word}, old", f"({word})", f"'{word}' of", f"old/{word}-like"):
            assert cut(tokenizer, text).count(token) == 1, text


@every_kind
def test_a_word_that_only_contains_a_term_is_cut_as_before(kind):
    base, (tokenizer, _) = BASES[kind], EXTENDED[kind]
    for text in ("Olenelluses", "other", "Stage_101", "myOlenellus", "the Wheeler_Formation", "Olenellusé", "T-rexes"):
        assert cut(tokenizer, text) == cut(base, text), text


TEXT = st.text(alphabet=st.sampled_from("aeOlns T-_.,;('é 0\n\t"), max_size=30)


@every_kind
@settings(max_examples=60, deadline=None)
@given(text=TEXT)
def test_a_text_without_terms_keeps_its_ids(kind, text):
    base, (tokenizer, _) = BASES[kind], EXTENDED[kind]
    assert cut(tokenizer, text) == cut(base, text)


@every_kind
@settings(max_examples=60, deadline=None)
@given(parts=st.lists(st.sampled_from([*WORDS, "swam", "Stage", "_10", "es", " ", ",", "-", " the ", "(", "x"])))
def test_terms_are_found_where_they_are_whole_words_and_nowhere_else(kind, parts):
    text = "".join(parts)
    tokenizer, table = EXTENDED[kind]
    pattern = "|".join(sorted(map(re.escape, WORDS), key=len, reverse=True))
    expected = [table.categories["taxa"][word] for word in re.findall(rf"(?<!\w)(?:{pattern})(?!\w)", text)]
    assert [token for token in cut(tokenizer, text) if token in added_tokens(tokenizer)] == expected


@every_kind
@settings(max_examples=60, deadline=None)
@given(words=st.lists(st.sampled_from([*WORDS, "Olenelluses", "other", "swam"]), min_size=1, max_size=8))
def test_what_is_masked_as_a_word_is_a_whole_term(kind, words):
    """unit: word, by its tables: as many words as stand in the text, each term one of them."""
    tokenizer, table = EXTENDED[kind]
    words = [word for word in words if "-" not in word and "_" not in word]
    tables, ids = word_boundaries(tokenizer), cut(tokenizer, " ".join(words))
    begins = [i for i in range(len(ids)) if i == 0 or tables.opens[ids[i]] or tables.closes[ids[i - 1]]]
    assert len(begins) == len(words)
    ends = [*begins[1:], len(ids)] if begins else []
    for word, begin, end in zip(words, begins, ends, strict=True):
        if word in WORDS:
            assert ids[begin:end] == [table.categories["taxa"][word]]


@every_kind
def test_ids_become_text_with_the_spaces_before_terms(kind):
    tokenizer, _ = EXTENDED[kind]
    text = "the Olenellus of Kärnten and Stage_10 lived, Wheeler too"
    back = tokenizer.decode(cut(tokenizer, text))
    assert back == (text if kind != "uncased" else "the olenellus of karnten and stage_10 lived, wheeler too")


@every_kind
def test_what_stands_around_a_term_is_cut_as_around_another_word(kind):
    """No token of space alone before it, and no mark of a new text behind it."""
    base, (tokenizer, table) = BASES[kind], EXTENDED[kind]
    framed = cut(tokenizer, "the Olenellus, lived; (Olenellus) there")
    new = table.categories["taxa"]["Olenellus"]
    parts = [[]]
    for token in framed:
        parts[-1].append(token) if token != new else parts.append([])
    assert parts[0] == cut(base, "the")
    assert cut(base, "the") + parts[1] + cut(base, "x")[-1:] == cut(base, "the, lived; (x")
    assert len(parts) == 3


def test_repeated_and_known_terms_are_counted_and_the_order_of_ids_is_that_of_the_files():
    base = BASES["uncased"]
    listed = [*terms("Zygote", "the", "Alpha", "alpha"), *terms("ALPHA", "beta", "Zygote", category="times")]
    tokenizer, table = extend(base, listed, before=None)
    first = len(base)
    assert table.categories == {
        "taxa": {"Zygote": first, "the": cut(base, "the")[0], "Alpha": first + 1},
        "times": {"beta": first + 2},
    }
    assert table.known == {"taxa": ("the",)}
    assert [(one.term, one.category, one.first) for one in table.repeated] == [
        ("alpha", "taxa", "taxa"),
        ("ALPHA", "times", "taxa"),
        ("Zygote", "times", "taxa"),
    ]
    assert table.added == len(tokenizer) - len(base) == 3
    assert cut(tokenizer, "ALPHA alpha Alpha") == [first + 1] * 3


@pytest.mark.parametrize("kind", ["bpe", "unigram", "deberta", "wordpiece"])
def test_a_term_that_is_a_piece_of_longer_words_is_left_out_and_reported(kind):
    """It would get that piece's id: each longer word would read, and be written, as if the term stood in it."""
    base, plain = BASES[kind], re.compile("(##)?[a-z]+")
    whole = {piece for piece in base.get_vocab() if len(cut(base, f"x {piece}")) == len(cut(base, "x")) + 1}
    inner = sorted(piece for piece in base.get_vocab() if plain.fullmatch(piece) and piece not in whole)
    tokenizer, table = extend(base, terms(*inner, "Olenellus"), before=None)
    assert inner and table.inner == {"taxa": tuple(inner)} and table.added == len(tokenizer) - len(base) == 1
    assert table.terms == {"taxa": ["Olenellus", *inner]}
    text = " ".join(f"xy{piece.removeprefix('##')}e" for piece in inner)
    assert cut(tokenizer, text) == cut(base, text)
    assert tokenizer.decode(cut(tokenizer, text)) == base.decode(cut(base, text))
    old = len(base)
    assert word_boundaries(tokenizer).opens[:old].tolist() == word_boundaries(base).opens.tolist()
    _, again = extend(tokenizer, terms(inner[0], category="times"), before=table)
    assert again.repeated[-1].first == "taxa" and again.inner == table.inner


def test_an_extended_tokenizer_can_be_extended_again_and_its_table_holds_all(tmp_path: Path):
    tokenizer, table = EXTENDED["unigram"]
    again, both = extend(tokenizer, [*terms("Kärnten", "Drumian", category="times")], before=table)
    assert both.categories["times"] == {"Drumian": len(tokenizer)}
    assert both.repeated == (Repeated(term="Kärnten", category="times", first="taxa"),)
    assert both.categories["taxa"] == table.categories["taxa"]
    assert again.decode(cut(again, "the Drumian of Kärnten")) == "the Drumian of Kärnten"


@every_kind
def test_transformers_loads_it_as_it_is_and_the_table_lies_beside_it(kind, tmp_path):
    tokenizer, table = EXTENDED[kind]
    save_extended(tokenizer, table, tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    assert tokenizers.fingerprint(loaded) == tokenizers.fingerprint(tokenizer)
    assert read_table(tmp_path) == table
    assert list(added_tokens(loaded).values()) == [word for word in WORDS if word not in table.known.get("taxa", ())]
    assert loaded.all_special_tokens == BASES[kind].all_special_tokens


def test_the_tokenizer_that_is_extended_stays_as_it_was():
    before = tokenizers.fingerprint(BASES["bpe"])
    extend(BASES["bpe"], terms("Anything"), before=None)
    assert tokenizers.fingerprint(BASES["bpe"]) == before


def test_a_special_token_or_a_mark_alone_is_no_term():
    with pytest.raises(DataError, match=r"taxa\.txt:1: the term '\[MASK\]' is a special token"):
        extend(BASES["unigram"], terms("[MASK]"), before=None)
    with pytest.raises(DataError, match=r"taxa\.txt:2: the term '--' has no letter"):
        extend(BASES["unigram"], terms("fine", "--"), before=None)


def test_term_files_are_read_line_by_line_and_bad_ones_are_refused_by_name(tmp_path: Path):
    (tmp_path / "taxa.txt").write_text("\ufeffOlenellus\r\n\n  Wheeler   Formation \nKärnten", encoding="utf-8")
    found = read_terms({"taxa": str(tmp_path / "taxa.txt")}, where="terms.")
    assert [term.text for term in found] == ["Olenellus", "Wheeler Formation", "Kärnten"]
    assert found[2].origin == f"{tmp_path}/taxa.txt:4"
    (tmp_path / "empty.txt").touch()
    (tmp_path / "blank.txt").write_text("\n \n")
    (tmp_path / "latin.txt").write_bytes(b"fine\nK\xe4rnten\n")
    (tmp_path / "binary.txt").write_bytes(b"fine\n\x00\x01\n")
    for name, said in {
        "empty.txt": r"terms\.taxa: .*empty\.txt: is empty \(0 bytes\); write one term a line",
        "blank.txt": "holds blank lines only",
        "latin.txt": r"latin\.txt:2: is not UTF-8",
        "binary.txt": r"binary\.txt:2: holds a control character",
        ".": "is a directory",
    }.items():
        with pytest.raises(DataError, match=said):
            read_terms({"taxa": str(tmp_path / name)}, where="terms.")
    with pytest.raises(MissingError, match=r"terms\.taxa: .*none\.txt: no such file"):
        read_terms({"taxa": str(tmp_path / "none.txt")}, where="terms.")


def test_a_table_that_is_none_is_named(tmp_path: Path):
    (tmp_path / "terms.json").write_text(json.dumps({"taxa": 3}))
    with pytest.raises(DataError, match=r"terms\.json: is no table of terms"):
        read_table(tmp_path)
    assert read_table(tmp_path / "nowhere") is None


def test_the_python_tokenizer_of_bert_reads_terms_between_spaces_alike(tmp_path: Path):
    """The one Python tokenizer that transformers still has for our families; it misses terms beside punctuation."""
    from transformers import AddedToken
    from transformers.models.bert.tokenization_bert_legacy import BertTokenizerLegacy

    tokenizer, _ = EXTENDED["wordpiece"]
    vocabulary = json.loads(tokenizer.backend_tokenizer.to_str())["model"]["vocab"]
    (tmp_path / "vocab.txt").write_text("".join(f"{piece}\n" for piece in sorted(vocabulary, key=vocabulary.get)))
    slow = BertTokenizerLegacy(str(tmp_path / "vocab.txt"), do_lower_case=False)
    slow.add_tokens([AddedToken(text, single_word=True) for text in added_tokens(tokenizer).values()])
    for text in ("the Olenellus lived in Stage_10 of Kärnten", "Olenelluses , other Wheeler beds", "Stage_101 ther"):
        assert cut(slow, text) == cut(tokenizer, text)
    assert cut(slow, "(Olenellus)") != cut(tokenizer, "(Olenellus)")
