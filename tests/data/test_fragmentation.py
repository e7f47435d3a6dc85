"""How terms are cut: counted by hand on tokenizers whose pieces are known, alone, in sentences and in a corpus."""

from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from runjob.data import tokenizers
from runjob.data.extend import added_tokens, extend, without_tokens
from runjob.data.fragmentation import SENTENCES, Counts, Cut, Share, measure_corpus, measure_terms
from runjob.data.terms import Term
from runjob.data.tokenizer_tool import Corpus, build, check, extend_to, written_whole
from runjob.schemas.errors import DataError, JobError
from runjob.schemas.job_data import PretrainedTokenizer, TrainedTokenizer

PIECES = ["[UNK]", "[SEP]", "the", "fish", "tri", "##lo", "##bite", "old", "was", "(", ")", ",", "."]


@pytest.fixture
def base():
    """WordPiece of a few pieces: trilobite is three of them, whale is unknown."""
    engine = Tokenizer(models.WordPiece({piece: number for number, piece in enumerate(PIECES)}, unk_token="[UNK]"))
    engine.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return PreTrainedTokenizerFast(tokenizer_object=engine, unk_token="[UNK]", sep_token="[SEP]")


def only_behind_a_space():
    """Byte-level pieces in which `fish` is whole with the space before it, and nowhere else."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    merged = ["Ġf", "Ġfi", "Ġfis", "Ġfish"]
    merges = [(piece[:-1], piece[-1]) for piece in merged]
    vocabulary = {piece: number for number, piece in enumerate([*letters, *merged, "<end>"])}
    engine = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    engine.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return PreTrainedTokenizerFast(tokenizer_object=engine, eos_token="<end>")


def test_shares_are_counted_by_category_and_a_term_that_is_unknown_counts_as_cut(base):
    found = measure_terms(base, {"taxa": ["fish", "trilobite", "whale"], "times": ["old", "the"]}, ["the {} was old"])
    assert found.categories == {"taxa": Share(terms=3, alone=2, within=2), "times": Share(terms=2, alone=0, within=0)}
    assert found.overall == Share(terms=5, alone=2, within=2)
    assert found.overall.worse == 0.4
    assert found.worst == (
        Cut(term="trilobite", category="taxa", pieces=("tri", "##lo", "##bite")),
        Cut(term="whale", category="taxa", pieces=("[UNK]",)),
    )


def test_a_term_that_is_whole_behind_a_space_alone_is_found_cut_elsewhere():
    terms = {"taxa": ["fish"]}
    assert measure_terms(only_behind_a_space(), terms, ["the {} swam"]).overall == Share(terms=1, alone=1, within=0)
    found = measure_terms(only_behind_a_space(), terms, SENTENCES)
    assert found.overall.within == 1
    assert found.worst[0].pieces == ("f", "i", "s", "h")


def test_the_worst_ten_are_those_of_most_pieces(base):
    terms = ["tri" + "lo" * number for number in range(1, 15)]
    worst = measure_terms(base, {"taxa": terms}, ["{}"]).worst
    assert [cut.term for cut in worst] == terms[:3:-1]


def test_a_corpus_is_counted_against_the_tokenizer_without_its_terms(base):
    terms = [Term(text="trilobite", category="taxa", origin="t:1")]
    tokenizer, _ = extend(base, terms, before=None)
    before = without_tokens(tokenizer, added_tokens(tokenizer))
    texts = ["the trilobite was old", "the fish", "trilobites, (trilobite)"]
    counts = measure_corpus(tokenizer, before, {"taxa": ["trilobite", "fish"]}, texts)
    # by hand: 4 + 2 + ([UNK] , ( trilobite )) and 6 + 2 + ([UNK] , ( tri ##lo ##bite ))
    assert counts == Counts(documents=3, tokens=11, before=15, occurrences=3, cut=0)
    assert measure_corpus(base, before, {"taxa": ["trilobite"]}, texts).cut == 2


def finished(path: Path) -> PretrainedTokenizer:
    return PretrainedTokenizer(kind="pretrained", path=str(path), revision=None, terms={})


def corpus(*paths: Path | str) -> Corpus:
    return Corpus(paths=tuple(map(str, paths)), field="text", documents="line")


def test_what_is_built_is_what_a_job_would_train_and_what_is_extended_tells_check_its_terms(
    words: Path, tmp_path: Path
):
    settings = TrainedTokenizer(kind="train", algorithm="bpe", vocab_size=320, terms={})
    assert build(corpus(words), settings, tmp_path / "base") == 320
    trained = tokenizers.train(lambda: iter(words.read_text(encoding="utf-8").splitlines()), settings)
    built = tokenizers.load_pretrained(finished(tmp_path / "base"))
    assert tokenizers.fingerprint(built) == tokenizers.fingerprint(trained)
    (tmp_path / "taxa.txt").write_text("Olenellus\nhuiskato\nOlenellus\n")
    table = extend_to(finished(tmp_path / "base"), {"taxa": str(tmp_path / "taxa.txt")}, tmp_path / "more")
    assert table.added + sum(map(len, table.known.values())) == 2 and len(table.repeated) == 1
    result = check(finished(tmp_path / "more"), {}, sentences=[], corpus=corpus(words), base=None)
    assert result.found.overall == Share(terms=2, alone=0, within=0)
    assert result.counts is not None and result.counts.tokens <= result.counts.before
    with pytest.raises(JobError, match=r"base: no terms\.json beside this tokenizer; name terms with --terms"):
        check(finished(tmp_path / "base"), {}, sentences=[], corpus=None, base=None)
    with pytest.raises(JobError, match=r"has no \{\} where a term is to stand"):
        check(finished(tmp_path / "more"), {}, sentences=["no place"], corpus=None, base=None)


def test_a_corpus_that_gives_no_such_vocabulary_leaves_nothing_behind(tmp_path: Path):
    settings = TrainedTokenizer(kind="train", algorithm="bpe", vocab_size=5000, terms={})
    (tmp_path / "one.txt").write_text("een enkele regel\n")
    with pytest.raises(DataError, match=r"--vocab-size 5000: this corpus gives \d+ tokens and no more; write --vocab"):
        build(corpus(tmp_path / "one.txt"), settings, tmp_path / "out")
    (tmp_path / "blank.txt").write_text("\n\n")
    with pytest.raises(DataError, match="no document in it"):
        build(corpus(tmp_path / "blank.txt"), settings, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["blank.txt", "one.txt"]


def test_a_corpus_may_hold_what_only_characters_as_tokens_may_not(tmp_path: Path):
    (tmp_path / "private.txt").write_text("a \ue000 b\n", encoding="utf-8")
    assert list(corpus(tmp_path / "private.txt").texts()) == ["a \ue000 b"]


def test_a_directory_that_exists_is_never_written_into(tmp_path: Path):
    (tmp_path / "there").mkdir()
    with pytest.raises(JobError, match="there: exists already; name another"), written_whole(tmp_path / "there"):
        raise AssertionError
    with pytest.raises(KeyboardInterrupt), written_whole(tmp_path / "new") as folder:
        (folder / "half").write_text("half")
        raise KeyboardInterrupt
    assert [path.name for path in tmp_path.iterdir()] == ["there"]
