"""The tokenizer of a job: one that exists (a directory or a Hub name), one trained on the job's training documents, or
characters as they are (data/characters.py).

In each case it is a Hugging Face tokenizer (a fast one, but for characters) that can be saved as a directory, and it
has an end-of-text token: documents are closed by it, and a model learns from it to stop. transformers and tokenizers
are imported where used.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from runjob.data import characters
from runjob.data.pieces import train_wordpiece
from runjob.data.samples import locate_tokenizer
from runjob.data.store import TokenizerSummary
from runjob.data.unigram import train_unigram
from runjob.schemas.errors import DataError, JobError, MissingError
from runjob.schemas.job_data import (
    CharacterTokenizer,
    PretrainedTokenizer,
    Trained,
    TrainedTokenizer,
    TrainedUnigram,
    TrainedWordPiece,
)

END_OF_TEXT = "<|endoftext|>"
PADDING = "<|pad|>"
BYTES = 256
# Beyond this a "word" is no word (base64, a binary file): the trainer's time grows with the square of its length.
LONGEST_PIECE = 256


def open_finished(settings: PretrainedTokenizer | CharacterTokenizer) -> Any:  # noqa: ANN401 - transformers has no types
    """The tokenizer of a job that trains none."""
    match settings:
        case PretrainedTokenizer():
            return load_pretrained(settings)
        case CharacterTokenizer():
            return characters.open_characters()


def load_pretrained(settings: PretrainedTokenizer) -> Any:  # noqa: ANN401
    """The tokenizer that a job names; code that comes with one is never run."""
    from transformers import AutoTokenizer

    where = locate_tokenizer(settings.path)
    if Path(where).exists() and not Path(where).is_dir():
        raise JobError(f"data.tokenizer.path: {settings.path} is a file; name the directory that holds tokenizer.json")
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            where, revision=settings.revision or "main", use_fast=True, trust_remote_code=False
        )
    except OSError as error:
        raise MissingError(
            f"data.tokenizer.path: {settings.path} is neither a directory here, nor in the local Hugging Face cache, "
            f"nor could it be fetched ({str(error).splitlines()[0]}); put a local copy (a directory with "
            f"tokenizer.json) anywhere and write its path there, or let the job train its own: data.tokenizer: "
            f"{{kind: train, vocab_size: 16384}}"
        ) from error
    except ValueError as error:
        raise JobError(f"data.tokenizer.path: {settings.path} can't be loaded: {error}") from error
    return checked(tokenizer, settings.path)


def checked(tokenizer: Any, name: str) -> Any:  # noqa: ANN401
    """The same tokenizer, or JobError if packing documents with it is impossible."""
    if characters.is_characters(tokenizer):
        raise JobError(f"data.tokenizer.path: {name} reads characters; write data.tokenizer: {{kind: characters}}")
    if not tokenizer.is_fast:
        raise JobError(
            f"data.tokenizer.path: {name} has no tokenizer.json and runs in Python only, which is too slow for a "
            f"corpus; choose one with a tokenizer.json"
        )
    if tokenizer.eos_token_id is None and tokenizer.sep_token_id is None:
        raise JobError(
            f"data.tokenizer.path: {name} has no end-of-text token (eos_token, or sep_token), which must close every "
            f"document; choose another or set eos_token in its tokenizer_config.json"
        )
    return tokenizer


def end_of_document(tokenizer: Any) -> int:  # noqa: ANN401
    """The id that closes every document; tokenizers of the BERT kind have none for that, but one between two texts."""
    closing = tokenizer.eos_token_id if tokenizer.eos_token_id is not None else tokenizer.sep_token_id
    return int(closing)


def summarise(tokenizer: Any) -> TokenizerSummary:  # noqa: ANN401
    """What store.json says of it."""
    return TokenizerSummary(
        fingerprint=fingerprint(tokenizer),
        vocab_size=len(tokenizer),
        eos_id=end_of_document(tokenizer),
        pad_id=tokenizer.pad_token_id,
        cls_id=tokenizer.cls_token_id,
        sep_id=tokenizer.sep_token_id,
        mask_id=tokenizer.mask_token_id,
    )


def train(texts: Callable[[], Iterable[str]], settings: Trained) -> Any:  # noqa: ANN401
    """The tokenizer that a job wants to be trained; `texts` gives its training documents from the first on."""
    match settings:
        case TrainedTokenizer():
            return train_bpe(texts(), vocab_size=settings.vocab_size)
        case TrainedWordPiece():
            return train_wordpiece(
                lambda: _pieces(texts()),
                vocab_size=settings.vocab_size,
                lowercase=settings.lowercase,
                marks=settings.marks,
            )
        case TrainedUnigram():
            return train_unigram(_pieces(texts()), vocab_size=settings.vocab_size, lowercase=settings.lowercase)


def train_bpe(texts: Iterable[str], *, vocab_size: int) -> Any:  # noqa: ANN401
    """A byte-level BPE: every text can be written with it, and the same texts give the same one to the byte."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    special = [END_OF_TEXT, PADDING]
    if vocab_size < BYTES + len(special):
        raise JobError(
            f"data.tokenizer.vocab_size: {vocab_size} is too small: {BYTES} bytes and {len(special)} special tokens "
            f"need {BYTES + len(special)}"
        )
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    backend.decoder = decoders.ByteLevel()
    backend.post_processor = processors.ByteLevel(trim_offsets=False)
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=special,
        # Sorted: the library's own order of the 256 is that of a hash table.
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    backend.train_from_iterator(_pieces(texts), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token=END_OF_TEXT, eos_token=END_OF_TEXT, pad_token=PADDING
    )


def _pieces(texts: Iterable[str]) -> Iterator[str]:
    """Texts with unbroken runs cut to LONGEST_PIECE characters; ordinary text passes as it is."""
    for text in texts:
        if max(map(len, text.split()), default=0) <= LONGEST_PIECE:
            yield text
        else:
            for word in text.split():
                yield from (word[cut : cut + LONGEST_PIECE] for cut in range(0, len(word), LONGEST_PIECE))


def backend_for_corpus(tokenizer: Any) -> Any:  # noqa: ANN401
    """A copy of the engine inside that neither truncates nor pads, and reads `<|endoftext|>` in a document as the
    fourteen characters that stand there and not as the end of the text."""
    return read_backend(write_backend(tokenizer))


def write_backend(tokenizer: Any) -> str:  # noqa: ANN401
    """The engine inside as text."""
    if characters.is_characters(tokenizer):
        return characters.ENGINE
    written: str = tokenizer.backend_tokenizer.to_str()
    return written


def read_backend(text: str) -> Any:  # noqa: ANN401
    """The same out of what `write_backend` gave; this needs no transformers."""
    if text == characters.ENGINE:
        return characters.CharacterEngine()
    from tokenizers import Tokenizer

    backend = Tokenizer.from_str(text)
    backend.no_truncation()
    backend.no_padding()
    backend.encode_special_tokens = True
    return backend


def save(tokenizer: Any, where: Path) -> None:  # noqa: ANN401
    """A Hugging Face tokenizer directory, without a trace of where this one was loaded from."""
    tokenizer.name_or_path = ""
    tokenizer.init_kwargs.pop("name_or_path", None)
    tokenizer.save_pretrained(where)


def fingerprint(tokenizer: Any) -> str:  # noqa: ANN401
    """sha256 over all that decides which ids a text becomes; how rows are truncated or padded is no part of it."""
    if characters.is_characters(tokenizer):
        return characters.fingerprint()
    behaviour = json.loads(tokenizer.backend_tokenizer.to_str())
    behaviour["truncation"] = behaviour["padding"] = None
    behaviour["special"] = {
        "bos": tokenizer.bos_token_id,
        "eos": tokenizer.eos_token_id,
        "pad": tokenizer.pad_token_id,
        "unk": tokenizer.unk_token_id,
    }
    return hashlib.sha256(json.dumps(behaviour, sort_keys=True).encode()).hexdigest()


def load_saved(where: Path) -> Any:  # noqa: ANN401
    """The tokenizer of a store."""
    from transformers import AutoTokenizer

    if characters.saved_characters(where):
        return characters.open_characters()
    if not (where / "tokenizer.json").is_file():
        raise DataError(
            f"{where}: holds no tokenizer.json; delete the store around it, and the next run builds it again"
        )
    return AutoTokenizer.from_pretrained(str(where), use_fast=True, trust_remote_code=False, local_files_only=True)
