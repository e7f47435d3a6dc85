"""A tokenizer for models that read a text from both sides, trained by the job: WordPiece as BERT has it. It has [PAD]
[UNK] [CLS] [SEP] [MASK] and frames a text as [CLS] text [SEP]; unlike one of bytes it can meet a character that it does
not know, which becomes [UNK].

The library numbers the characters of the corpus in the order of a hash table, which is another in every process, and
breaks ties between merges by those numbers. So they are numbered here: one pass over the texts to learn which there
are, one to learn the merges. The same texts give the same tokenizer to the byte, with any number of threads.
"""

from collections.abc import Callable, Iterable
from typing import Any

from runjob.schemas.errors import JobError

PAD, UNK, CLS, SEP, MASK = SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
GOES_ON = "##"


def train_wordpiece(texts: Callable[[], Iterable[str]], *, vocab_size: int, lowercase: bool) -> Any:  # noqa: ANN401
    """Words as BERT cuts them (at white space, punctuation and Chinese characters), then their pieces; [PAD] to [MASK]
    are the ids 0 to 4. `texts` is read twice. In lower case accents are taken off as well."""
    from tokenizers import Tokenizer, models

    alphabet = sorted(_merge(texts(), special=SPECIAL, vocab_size=0, lowercase=lowercase).keys() - set(SPECIAL))
    numbered = (*SPECIAL, *alphabet)
    if len(numbered) > vocab_size:
        raise JobError(
            f"data.tokenizer.vocab_size: {vocab_size} is too small: the characters of the training documents, at the "
            f"beginning of words and in them, and {len(SPECIAL)} special tokens alone need {len(numbered)}"
        )
    vocabulary = _merge(texts(), special=numbered, vocab_size=vocab_size, lowercase=lowercase)
    backend = Tokenizer(models.WordPiece(vocabulary, unk_token=UNK, continuing_subword_prefix=GOES_ON))
    _cut_words(backend, lowercase=lowercase)
    backend.add_special_tokens(list(SPECIAL))
    return framed(backend)


def _merge(texts: Iterable[str], *, special: tuple[str, ...], vocab_size: int, lowercase: bool) -> dict[str, int]:
    """The vocabulary that training gives: `special` first, then characters that are not among them, then merges."""
    from tokenizers import Tokenizer, models, trainers

    backend = Tokenizer(models.WordPiece(unk_token=UNK))
    _cut_words(backend, lowercase=lowercase)
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocab_size,
        special_tokens=list(special),
        continuing_subword_prefix=GOES_ON,
        show_progress=False,
    )
    backend.train_from_iterator(texts, trainer)
    vocabulary: dict[str, int] = backend.get_vocab()
    return vocabulary


def _cut_words(backend: Any, *, lowercase: bool) -> None:  # noqa: ANN401
    from tokenizers import decoders, normalizers, pre_tokenizers

    backend.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece(prefix=GOES_ON)


def framed(backend: Any) -> Any:  # noqa: ANN401
    """As transformers has it. A document ends with [SEP], as it does in DeBERTa's tokenizers."""
    from tokenizers import processors
    from transformers import PreTrainedTokenizerFast

    ids = {token: backend.token_to_id(token) for token in SPECIAL}
    backend.post_processor = processors.TemplateProcessing(
        single=f"{CLS} $A {SEP}",
        pair=f"{CLS} $A {SEP} $B:1 {SEP}:1",
        special_tokens=[(CLS, ids[CLS]), (SEP, ids[SEP])],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token=CLS,
        eos_token=SEP,
        pad_token=PAD,
        unk_token=UNK,
        cls_token=CLS,
        sep_token=SEP,
        mask_token=MASK,
    )
