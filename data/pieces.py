"""A tokenizer for models that read a text from both sides, trained by the job: WordPiece as BERT has it. It has [PAD]
[UNK] [CLS] [SEP] [MASK] (or MPNet's words for them) and frames a text as [CLS] text [SEP]; unlike one of bytes it can
meet a character that it does not know, which becomes [UNK].

The library numbers the characters of the corpus in the order of a hash table, which is another in every process, and
breaks ties between merges by those numbers. So they are numbered here: one pass over the texts to learn which there
are, one to learn the merges. The same texts give the same tokenizer to the byte, with any number of threads.
"""

from collections.abc import Callable, Iterable
from typing import Any, Literal, NamedTuple

from runjob.schemas.errors import JobError


class Marks(NamedTuple):
    """Special tokens by what they are for."""

    pad: str
    unk: str
    cls: str
    sep: str
    mask: str


# A family -> its marks. MPNet's are numbered as in microsoft/mpnet-base, where the mask alone has the last id of all.
MARKS = {
    "bert": Marks(pad="[PAD]", unk="[UNK]", cls="[CLS]", sep="[SEP]", mask="[MASK]"),
    "mpnet": Marks(pad="<pad>", unk="<unk>", cls="<s>", sep="</s>", mask="<mask>"),
}
# The same in the order of their ids, from 0
NUMBERED = {
    "bert": ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"),
    "mpnet": ("<s>", "<pad>", "</s>", "<unk>", "<mask>"),
}
UNK, SPECIAL = MARKS["bert"].unk, NUMBERED["bert"]
GOES_ON = "##"

Family = Literal["bert", "mpnet"]


def train_wordpiece(
    texts: Callable[[], Iterable[str]], *, vocab_size: int, lowercase: bool, marks: Family = "bert"
) -> Any:  # noqa: ANN401
    """Words as BERT cuts them (at white space, punctuation and Chinese characters), then their pieces; special tokens
    are the ids 0 to 4. `texts` is read twice. In lower case accents are taken off as well."""
    from tokenizers import Tokenizer, models

    special, unk = NUMBERED[marks], MARKS[marks].unk
    alphabet = sorted(_merge(texts(), unk, special=special, vocab_size=0, lowercase=lowercase).keys() - set(special))
    numbered = (*special, *alphabet)
    if len(numbered) > vocab_size:
        raise JobError(
            f"data.tokenizer.vocab_size: {vocab_size} is too small: the characters of the training documents, at the "
            f"beginning of words and in them, and {len(special)} special tokens alone need {len(numbered)}"
        )
    vocabulary = _merge(texts(), unk, special=numbered, vocab_size=vocab_size, lowercase=lowercase)
    backend = Tokenizer(models.WordPiece(vocabulary, unk_token=unk, continuing_subword_prefix=GOES_ON))
    _cut_words(backend, lowercase=lowercase)
    backend.add_special_tokens(list(special))
    return framed(backend, marks=marks)


def _merge(
    texts: Iterable[str], unk: str, *, special: tuple[str, ...], vocab_size: int, lowercase: bool
) -> dict[str, int]:
    """The vocabulary that training gives: `special` first, then characters that are not among them, then merges."""
    from tokenizers import Tokenizer, models, trainers

    backend = Tokenizer(models.WordPiece(unk_token=unk))
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


def framed(backend: Any, *, marks: Family = "bert") -> Any:  # noqa: ANN401
    """As transformers has it. A document ends with what stands between two texts, as in DeBERTa's tokenizers."""
    from tokenizers import processors
    from transformers import PreTrainedTokenizerFast

    pad, unk, cls, sep, mask = MARKS[marks]
    backend.post_processor = processors.TemplateProcessing(
        single=f"{cls} $A {sep}",
        pair=f"{cls} $A {sep} $B:1 {sep}:1",
        special_tokens=[(token, backend.token_to_id(token)) for token in (cls, sep)],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token=cls,
        eos_token=sep,
        pad_token=pad,
        unk_token=unk,
        cls_token=cls,
        sep_token=sep,
        mask_token=mask,
    )
