"""WordPiece and unigram pieces trained by the job: the same everywhere, with the special tokens of BERT, and reloaded
as they were."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import AutoTokenizer

from runjob.data import tokenizers
from runjob.data.prepare import prepare
from runjob.data.store import Store
from runjob.data.vocabulary import Extension, describe
from runjob.schemas.errors import JobError
from runjob.schemas.job_data import TrainedUnigram, TrainedWordPiece

TRAIN = """
import sys
from pathlib import Path
from runjob.data import tokenizers
from runjob.schemas import job_data
texts = Path(sys.argv[1]).read_text(encoding="utf-8").splitlines()
kind = {"wordpiece": job_data.TrainedWordPiece, "unigram": job_data.TrainedUnigram}[sys.argv[3]]
more = {"marks": "bert"} if sys.argv[3] == "wordpiece" else {}
settings = kind(kind="train", algorithm=sys.argv[3], vocab_size=150, lowercase=False, terms={}, **more)
tokenizers.save(tokenizers.train(lambda: iter(texts), settings), Path(sys.argv[2]))
"""
PANGRAMS = ["Filmquiz bracht knappe ex-yogi van de wijs", "Zweedse ex-VIP, behoorlijk gek op quantumfysica", "été Ähre"]


def wordpiece(texts: list[str], *, vocab_size: int = 200, lowercase: bool = False, marks="bert"):
    settings = TrainedWordPiece(
        kind="train", algorithm="wordpiece", vocab_size=vocab_size, lowercase=lowercase, marks=marks, terms={}
    )
    return tokenizers.train(lambda: iter(texts), settings)


def unigram(texts: list[str], *, vocab_size: int = 200, lowercase: bool = False):
    settings = TrainedUnigram(kind="train", algorithm="unigram", vocab_size=vocab_size, lowercase=lowercase, terms={})
    return tokenizers.train(lambda: iter(texts), settings)


both = pytest.mark.parametrize("train", [wordpiece, unigram])


@pytest.mark.parametrize("algorithm", ["wordpiece", "unigram"])
def test_trainings_with_other_hash_seeds_and_threads_give_the_same_bytes(words: Path, tmp_path: Path, algorithm: str):
    with words.open("a", encoding="utf-8") as file:
        file.write("\n".join(PANGRAMS * 3))  # letters that are equally frequent: ties to be broken
    written = []
    for number, threads in enumerate("127"):
        where = tmp_path / threads
        env = {**os.environ, "PYTHONHASHSEED": str(number), "RAYON_NUM_THREADS": threads}
        subprocess.run((sys.executable, "-c", TRAIN, words, where, algorithm), env=env, check=True, timeout=120)
        written.append([(file.name, file.read_bytes()) for file in sorted(where.iterdir())])
    assert written[0] == written[1] == written[2]


@both
def test_it_has_the_special_tokens_of_bert_and_frames_a_text_with_them(tmp_path: Path, train):
    tokenizer = train(PANGRAMS)
    assert tokenizer.convert_tokens_to_ids(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]) == [0, 1, 2, 3, 4]
    named = (tokenizer.pad_token_id, tokenizer.unk_token_id, tokenizer.cls_token_id, tokenizer.sep_token_id)
    assert (*named, tokenizer.mask_token_id) == (0, 1, 2, 3, 4)
    assert tokenizers.end_of_document(tokenizer) == 3
    tokenizers.save(tokenizer, tmp_path / "saved")
    loaded = AutoTokenizer.from_pretrained(tmp_path / "saved")
    text = "Zweedse quiz, été"
    ids = loaded(text)["input_ids"]
    assert (ids[0], ids[-1]) == (2, 3)
    assert ids == tokenizer(text)["input_ids"]
    assert loaded.decode(ids, skip_special_tokens=True) == text
    assert "[MASK]" in loaded.tokenize("een [MASK] quiz")
    assert tokenizers.fingerprint(loaded) == tokenizers.fingerprint(tokenizer)


@both
@pytest.mark.parametrize("seen", [[], ["[MASK] [SEP] [PAD] [CLS]"] * 9])
def test_special_tokens_inside_a_document_are_only_text(train, seen: list[str]):
    tokenizer = train([*PANGRAMS, *seen])
    [encoding] = tokenizers.backend_for_corpus(tokenizer).encode_batch_fast(
        ["een [MASK] en [SEP]"], add_special_tokens=False
    )
    assert not set(encoding.ids) & {0, 2, 3, 4}


@both
def test_in_lower_case_accents_go_too_and_otherwise_both_stay(train):
    assert train(PANGRAMS, lowercase=True).tokenize("ÉTÉ") == train(PANGRAMS, lowercase=True).tokenize("ete")
    cased = train(PANGRAMS)
    assert cased.tokenize("été") != cased.tokenize("ete")
    assert cased.tokenize("Ete") != cased.tokenize("ete")


def test_pieces_that_go_on_with_a_word_are_marked_and_an_unknown_character_is_unk():
    tokenizer = wordpiece(PANGRAMS, vocab_size=120)
    pieces = tokenizer.tokenize("behoorlijk")
    assert len(pieces) > 1
    assert all(piece.startswith("##") for piece in pieces[1:])
    assert tokenizer.tokenize("漢") == ["[UNK]"]


def test_a_space_belongs_to_the_piece_behind_it_and_odd_spaces_and_widths_are_made_even():
    tokenizer = unigram(["de kat en de hond"] * 5 + PANGRAMS)
    assert tokenizer.tokenize("de kat")[0] == "▁de"
    backend = tokenizers.backend_for_corpus(tokenizer)
    assert tokenizer.decode(backend.encode("  ｄｅ\t kat\n", add_special_tokens=False).ids) == "de kat"
    assert tokenizer.unk_token_id in backend.encode("漢", add_special_tokens=False).ids


@given(texts=st.lists(st.text("abcd ", min_size=1, max_size=30), min_size=1, max_size=8))
@settings(deadline=None, max_examples=30)
def test_every_text_of_known_letters_comes_back(texts: list[str]):
    tokenizer = unigram([*texts, "abcd"], vocab_size=40)
    assert len(tokenizer) <= 40
    backend = tokenizers.backend_for_corpus(tokenizer)
    for text in texts:
        assert tokenizer.decode(backend.encode(text, add_special_tokens=False).ids) == " ".join(text.split())


def test_letters_digits_and_signs_share_no_piece():
    """However often they stand together: a span that ends with a word then ends with a token."""
    lines = ["(Trias), 250 Ma. (Trias), 250 Ma."] * 20
    tokenizer = unigram([*lines, "e\u0301te\u0301 " * 20], vocab_size=60)
    backend = tokenizers.backend_for_corpus(tokenizer)
    pieces = backend.encode(lines[0], add_special_tokens=False).tokens
    assert pieces[:6] == ["▁(", "Trias", "),", "▁250", "▁Ma", "."]


def test_pieces_are_those_that_cut_the_corpus_best(words: Path):
    """As few pieces a word as the library's own trainer finds, up to a tenth."""
    lines = words.read_text(encoding="utf-8").splitlines()
    tokenizer = unigram(lines, vocab_size=120)
    library = Tokenizer(models.Unigram())
    library.pre_tokenizer = pre_tokenizers.Metaspace()
    library.train_from_iterator(lines, trainers.UnigramTrainer(vocab_size=100, unk_token="?", show_progress=False))
    ours, theirs = (
        sum(len(encoding.ids) for encoding in backend.encode_batch(lines, add_special_tokens=False))
        for backend in (tokenizers.backend_for_corpus(tokenizer), library)
    )
    assert ours < 1.1 * theirs


@both
def test_a_vocabulary_that_does_not_hold_the_characters_is_refused_with_what_they_need(train):
    with pytest.raises(JobError, match=r"data\.tokenizer\.vocab_size: 20 is too small: .* alone need (\d+)") as caught:
        train(PANGRAMS, vocab_size=20)
    needed = int(str(caught.value).rsplit(" ", 1)[1])
    assert len(train(PANGRAMS, vocab_size=needed)) == needed
    with pytest.raises(JobError, match=f"alone need {needed}"):
        train(PANGRAMS, vocab_size=needed - 1)


def test_a_job_trains_it_on_its_training_side_alone(words: Path, tmp_path: Path, make_text, no_report):
    settings = TrainedWordPiece(
        kind="train", algorithm="wordpiece", vocab_size=120, lowercase=False, marks="bert", terms={}
    )
    with words.open("a", encoding="utf-8") as file:
        file.write("\nw漢\n")
    data = make_text(words, tokenizer=settings)
    stores = [prepare(data, seed=seed, cache=tmp_path / "cache", report=no_report) for seed in range(4)]
    known = ["漢" in tokenizers.load_saved(store.path / "tokenizer").get_vocab() for store in stores]
    for store, is_known in zip(stores, known, strict=True):
        assert store.summary.tokenizer.vocab_size <= 120
        sides = Store.open(store.path)
        tokenizer = tokenizers.load_saved(sides.tokenizer)
        unknown = tokenizer.unk_token_id
        assert unknown not in sides.train.tokens
        assert (unknown in sides.validation.tokens) == (not is_known)
        assert sides.train.tokens[0] == sides.train.tokens[-1] == tokenizer.sep_token_id
    assert sorted(set(known)) == [False, True]


def test_unigram_pieces_that_change_have_another_number_in_the_store() -> None:
    """Or a store of the old pieces would be found for a job that trains the new ones."""
    settings = TrainedUnigram(kind="train", algorithm="unigram", vocab_size=150, lowercase=False, terms={})
    described = describe(settings, None, Extension(terms=(), before=None))
    pieces = unigram([*PANGRAMS, "in 1913 (c. 1913), bij 13,5 graden"] * 3, vocab_size=150).backend_tokenizer.to_str()
    assert (described["trainer"], hashlib.sha256(pieces.encode()).hexdigest()[:16]) == (2, "1b3625544cb8dc7a")
