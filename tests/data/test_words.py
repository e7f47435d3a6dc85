"""Where words begin, by three kinds of tokenizers, against what the tokenizer itself says of the text."""

import copy
import functools
import gzip

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from runjob.data.samples import locate
from runjob.data.words import marks_words, scheme_of, table_size, text_bytes, word_boundaries
from runjob.schemas.errors import JobError
from runjob.schemas.tokenizer_files import read_tokenizer, word_scheme

SPECIAL = {
    "pad_token": "[PAD]",
    "unk_token": "[UNK]",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "mask_token": "[MASK]",
}


@pytest.fixture(scope="module")
def text() -> str:
    with gzip.open(locate("english"), "rt", encoding="utf-8") as file:
        return file.read(60_000)


@functools.cache
def wordpiece(text: str) -> PreTrainedTokenizerFast:
    engine = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    engine.normalizer = normalizers.BertNormalizer(lowercase=True)
    engine.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return trained(engine, trainers.WordPieceTrainer, text)


@functools.cache
def unigram(text: str) -> PreTrainedTokenizerFast:
    engine = Tokenizer(models.Unigram())
    engine.pre_tokenizer = pre_tokenizers.Metaspace()
    engine.decoder = decoders.Metaspace()
    return trained(engine, trainers.UnigramTrainer, text, unk_token="[UNK]")


@functools.cache
def byte_level(text: str) -> PreTrainedTokenizerFast:
    engine = Tokenizer(models.BPE())
    engine.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    engine.decoder = decoders.ByteLevel()
    return trained(engine, trainers.BpeTrainer, text, initial_alphabet=pre_tokenizers.ByteLevel.alphabet())


def trained(engine: Tokenizer, trainer: type, text: str, **settings) -> PreTrainedTokenizerFast:
    special = list(SPECIAL.values())
    engine.train_from_iterator(
        text.splitlines(), trainer(vocab_size=600, special_tokens=special, show_progress=False, **settings)
    )
    return PreTrainedTokenizerFast(tokenizer_object=engine, **SPECIAL)


def words_of(tokenizer: PreTrainedTokenizerFast, ids: list[int]) -> list[list[str]]:
    """The pieces of each word, by our tables."""
    tables = word_boundaries(tokenizer)
    words: list[list[str]] = []
    for index, token in enumerate(ids):
        if index == 0 or tables.opens[token] or tables.closes[ids[index - 1]]:
            words.append([])
        words[-1].append(tokenizer.convert_ids_to_tokens(token))
    return words


def test_words_of_a_wordpiece_text_are_those_that_the_tokenizer_split_it_into(text):
    tokenizer = wordpiece(text)
    encoding = tokenizer(text, add_special_tokens=False)
    ours = np.cumsum([0, *map(len, words_of(tokenizer, encoding.input_ids))])[:-1]
    theirs = encoding.word_ids()
    assert ours.tolist() == [i for i, word in enumerate(theirs) if i == 0 or word != theirs[i - 1]]
    assert len(ours) > 8000 and len(encoding.input_ids) > 1.5 * len(ours)


def test_words_of_byte_level_pieces_are_the_pre_tokenizers_but_for_apostrophes_and_numbers(text):
    plain = " ".join(line for line in text.splitlines() if not set("'0123456789_") & set(line) and line.isascii())
    tokenizer = byte_level(text)
    encoding = tokenizer(plain, add_special_tokens=False)
    ours = {sum(map(len, words)) for words in [words_of(tokenizer, encoding.input_ids)]}
    assert ours == {len(encoding.input_ids)}
    starts = np.cumsum([0, *map(len, words_of(tokenizer, encoding.input_ids))])[:-1]
    theirs = encoding.word_ids()
    expected = [i for i, word in enumerate(theirs) if i == 0 or word != theirs[i - 1]]
    # a row of several punctuation marks is one word to the pre-tokenizer and several to us
    assert set(expected) <= set(starts.tolist())
    extra = [tokenizer.convert_ids_to_tokens(encoding.input_ids[i]) for i in set(starts.tolist()) - set(expected)]
    assert all(not any(letter.isalnum() for letter in piece) for piece in extra)
    assert len(extra) < len(expected) / 20


@pytest.mark.parametrize("build", [wordpiece, unigram, byte_level])
def test_a_word_is_one_run_of_letters_whatever_the_kind(text, build):
    tokenizer = build(text)
    sentence = "Thereafter the harpooneer, Queequeg (a cannibal), sat unsuspectingly: whale-ships"
    words = words_of(tokenizer, tokenizer(sentence, add_special_tokens=False).input_ids)
    joined = ["".join(word).replace("##", "").strip("▁Ġ").lower() for word in words]
    expected = "thereafter the harpooneer , queequeg ( a cannibal ) , sat unsuspectingly : whale - ships"
    assert " ".join(word for word in joined if word) == expected


@pytest.mark.parametrize("build", [wordpiece, unigram, byte_level])
def test_the_first_word_of_a_text_and_a_special_token_begin_words(text, build):
    tokenizer = build(text)
    tables = word_boundaries(tokenizer)
    assert tables.opens[tokenizer.all_special_ids].all()
    assert len(tables.opens) == len(tables.closes) == table_size(tokenizer)
    assert len(words_of(tokenizer, tokenizer("unsuspectingly", add_special_tokens=False).input_ids)) == 1


@pytest.mark.parametrize("build", [wordpiece, unigram, byte_level])
def test_bytes_of_words_are_the_texts_without_its_spaces(text, build):
    tokenizer = build(text)
    sentence = "the whale, ßpouting é ".lower().strip() if build is byte_level else "the whale, spouting"
    ids = tokenizer(sentence, add_special_tokens=False).input_ids
    assert tokenizer.unk_token_id not in ids
    assert text_bytes(tokenizer)[ids].sum() == len(sentence.replace(" ", "").encode())
    assert text_bytes(tokenizer)[tokenizer.all_special_ids].sum() == 0


def test_an_added_term_is_a_word_and_what_follows_it_within_the_word_belongs_to_it(text):
    tokenizer = copy.deepcopy(byte_level(text))
    tokenizer.add_tokens(["Olenellus"])
    words = words_of(tokenizer, tokenizer("Olenelluses swam", add_special_tokens=False).input_ids)
    assert words[0][0] == "Olenellus" and len(words[0]) > 1
    assert words[1][0].startswith("Ġ")


def test_a_tokenizer_without_marks_is_refused_by_name():
    engine = Tokenizer(models.WordLevel({"[UNK]": 0, "a": 1}, unk_token="[UNK]"))
    engine.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=engine, unk_token="[UNK]")
    assert not marks_words(tokenizer)
    with pytest.raises(JobError, match=r"objective\.unit: this tokenizer \(WordLevel\) has no mark .* `unit: token`"):
        word_boundaries(tokenizer)


@pytest.mark.parametrize("make", [wordpiece, unigram, byte_level])
def test_the_files_of_a_tokenizer_say_what_the_tokenizer_does(text, make, tmp_path):
    tokenizer = make(text)
    tokenizer.save_pretrained(tmp_path)
    files = read_tokenizer(tmp_path)
    assert files is not None
    assert files.tokens == {id_: token for token, id_ in tokenizer.get_vocab().items()}
    assert files.added == tokenizer.added_tokens_decoder.keys()
    assert files.padding == tokenizer.pad_token_id == 0
    assert word_scheme(files.engine) == scheme_of(tokenizer)
    assert read_tokenizer(tmp_path / "none") is None
