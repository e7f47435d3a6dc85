"""The tokenizer of a job: trained the same everywhere or loaded as it is, with an end that no document can fake."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from runjob.data import tokenizers
from runjob.schemas.errors import DataError, JobError
from runjob.schemas.job_data import PretrainedTokenizer

TRAIN = """
import sys
from pathlib import Path
from runjob.data import tokenizers
texts = Path(sys.argv[1]).read_text(encoding="utf-8").splitlines()
tokenizers.save(tokenizers.train_bpe(iter(texts), vocab_size=400), Path(sys.argv[2]))
"""


def named(path: Path | str) -> PretrainedTokenizer:
    return PretrainedTokenizer(kind="pretrained", path=str(path), revision=None, terms={})


def test_two_trainings_with_other_hash_seeds_and_threads_give_the_same_bytes(words: Path, tmp_path: Path):
    written = []
    for number, (hash_seed, threads) in enumerate([("0", "1"), ("1", "2"), ("12345", "7")]):
        where = tmp_path / str(number)
        env = {**os.environ, "PYTHONHASHSEED": hash_seed, "RAYON_NUM_THREADS": threads}
        subprocess.run((sys.executable, "-c", TRAIN, words, where), env=env, check=True, timeout=120)
        written.append([(file.name, file.read_bytes()) for file in sorted(where.iterdir())])
    assert written[0] == written[1] == written[2]
    assert "tokenizer.json" in dict(written[0])


def test_a_trained_tokenizer_writes_every_text_and_gets_it_back(words: Path):
    tokenizer = tokenizers.train_bpe(words.read_text(encoding="utf-8").splitlines(), vocab_size=400)
    assert len(tokenizer) == 400
    assert (tokenizer.eos_token_id, tokenizer.bos_token_id, tokenizer.pad_token_id) == (0, 0, 1)
    for text in ("huiskato een ë 漢字 🎉\n\ttabs  and  spaces ", "\x00", ""):
        assert tokenizer.decode(tokenizers.backend_for_corpus(tokenizer).encode(text).ids) == text


def test_a_word_of_a_million_letters_does_not_stop_the_training():
    tokenizer = tokenizers.train_bpe(["ab" * 500_000, "ab cd"], vocab_size=270)
    assert len(tokenizer) <= 270


def test_special_tokens_inside_a_document_are_only_text(words: Path):
    tokenizer = tokenizers.train_bpe(["x y z"], vocab_size=258)
    backend = tokenizers.backend_for_corpus(tokenizer)
    text = "the token <|endoftext|> and <|pad|>"
    [encoding] = backend.encode_batch_fast([text], add_special_tokens=False)
    assert not {0, 1} & set(encoding.ids)
    assert tokenizer.decode(encoding.ids) == text


def test_too_few_entries_for_the_bytes_are_refused():
    with pytest.raises(JobError, match=r"data.tokenizer.vocab_size: 257 is too small: .* need 258"):
        tokenizers.train_bpe(["x"], vocab_size=257)


def test_a_saved_tokenizer_is_loaded_as_it_was_and_tells_nothing_of_where_it_came_from(words: Path, tmp_path: Path):
    trained = tokenizers.train_bpe(words.read_text(encoding="utf-8").splitlines(), vocab_size=300)
    tokenizers.save(trained, tmp_path / "first")
    loaded = tokenizers.load_pretrained(named(tmp_path / "first"))
    assert tokenizers.fingerprint(loaded) == tokenizers.fingerprint(trained)
    tokenizers.save(loaded, tmp_path / "second")
    for file in (tmp_path / "second").iterdir():
        assert str(tmp_path) not in file.read_text(encoding="utf-8")
    assert tokenizers.fingerprint(tokenizers.load_saved(tmp_path / "second")) == tokenizers.fingerprint(trained)


def test_the_fingerprint_tells_what_it_does_and_not_how_rows_are_cut(words: Path):
    lines = words.read_text(encoding="utf-8").splitlines()
    one, same, other = (tokenizers.train_bpe(lines, vocab_size=size) for size in (300, 300, 301))
    same.backend_tokenizer.enable_truncation(8)
    same.backend_tokenizer.enable_padding(length=8)
    assert tokenizers.fingerprint(one) == tokenizers.fingerprint(same)
    assert tokenizers.fingerprint(one) != tokenizers.fingerprint(other)
    same.eos_token = "<|pad|>"
    assert tokenizers.fingerprint(one) != tokenizers.fingerprint(same)


def test_a_corpus_is_neither_truncated_nor_padded(words: Path):
    tokenizer = tokenizers.train_bpe(["x y z"], vocab_size=258)
    tokenizer.backend_tokenizer.enable_truncation(2)
    tokenizer.backend_tokenizer.enable_padding(length=50)
    assert len(tokenizers.backend_for_corpus(tokenizer).encode("abcdef").ids) == 6
    assert len(tokenizer.backend_tokenizer.encode("abcdef").ids) == 50  # the one it was copied from is left alone


def test_a_tokenizer_without_an_end_of_text_is_refused(tmp_path: Path):
    backend = Tokenizer(models.WordLevel({"a": 0, "?": 1}, unk_token="?"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="?").save_pretrained(tmp_path)
    with pytest.raises(JobError, match="has no end-of-text token"):
        tokenizers.load_pretrained(named(tmp_path))


def test_what_is_no_tokenizer_directory_is_named(tmp_path: Path):
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(JobError, match="is a file; name the directory"):
        tokenizers.load_pretrained(named(tmp_path / "tokenizer.json"))
    with pytest.raises(DataError, match=r"holds no tokenizer\.json"):
        tokenizers.load_saved(tmp_path / "nothing")


LOAD = """
from runjob.data import tokenizers
from runjob.schemas.errors import MissingError
from runjob.schemas.job_data import PretrainedTokenizer
try:
    tokenizers.load_pretrained(PretrainedTokenizer(kind="pretrained", path="nobody/nothing", revision=None, terms={}))
except MissingError as error:
    print(error)
"""


def test_a_name_that_is_not_here_offline_says_where_a_copy_would_go(tmp_path: Path):
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    done = subprocess.run((sys.executable, "-c", LOAD), env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "data.tokenizer.path: nobody/nothing is neither a directory here" in done.stdout
    assert "put a local copy" in done.stdout
