"""What a job says of its data, as typed, frozen values: sources, mixtures of them, tokenizer and sides (see job.py)."""

from dataclasses import dataclass
from typing import Literal, TypeGuard


@dataclass(frozen=True, kw_only=True)
class HashSplit:
    """Shares by a hash of (seed, document): no document changes side when the corpus grows."""

    kind: Literal["hash"]
    validation: float
    test: float | None


@dataclass(frozen=True, kw_only=True)
class FirstSplit:
    """The first N kept documents are the validation side, the next ones the test side."""

    kind: Literal["first"]
    validation: int
    test: int | None


@dataclass(frozen=True, kw_only=True)
class FilesSplit:
    """Files for each side; those of `data.path` are the training side."""

    kind: Literal["files"]
    validation: tuple[str, ...]
    test: tuple[str, ...] | None


@dataclass(frozen=True, kw_only=True)
class SubsetsSplit:
    """What a data set of the Hub itself calls validation and test; `data.subset` is the training side."""

    kind: Literal["subsets"]
    validation: str
    test: str | None


Split = HashSplit | FirstSplit | FilesSplit | SubsetsSplit


@dataclass(frozen=True, kw_only=True)
class PretrainedTokenizer:
    """A Hugging Face tokenizer: a directory, or a name on the Hub with an optional revision. `terms` (category -> file,
    here and below) are words that it is to hold whole."""

    kind: Literal["pretrained"]
    path: str
    revision: str | None
    terms: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class TrainedTokenizer:
    """A byte-level BPE trained by the job on its own training documents."""

    kind: Literal["train"]
    algorithm: Literal["bpe"]
    vocab_size: int
    terms: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class TrainedWordPiece:
    """The same with the WordPiece of BERT; `marks`: the special tokens of BERT, or those of MPNet."""

    kind: Literal["train"]
    algorithm: Literal["wordpiece"]
    vocab_size: int
    lowercase: bool
    marks: Literal["bert", "mpnet"]
    terms: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class TrainedUnigram:
    """The same with a unigram model of pieces."""

    kind: Literal["train"]
    algorithm: Literal["unigram"]
    vocab_size: int
    lowercase: bool
    terms: dict[str, str]


Trained = TrainedTokenizer | TrainedWordPiece | TrainedUnigram


@dataclass(frozen=True, kw_only=True)
class CharacterTokenizer:
    """Each character is a token, its id the code point."""

    kind: Literal["characters"]


Tokenizer = PretrainedTokenizer | Trained | CharacterTokenizer


@dataclass(frozen=True, kw_only=True)
class Normalize:
    """What is made of every document before anything else looks at it, in this order."""

    unicode: Literal["NFC", "NFKC"] | None
    whitespace: Literal["keep", "strip", "collapse"]
    lowercase: bool
    idn: Literal["ascii", "unicode"] | None
    join_terms: bool


@dataclass(frozen=True, kw_only=True)
class Filter:
    """Regular expressions searched for in every document: without `keep`, or with `drop`, it is left out."""

    keep: str | None
    drop: str | None


@dataclass(frozen=True, kw_only=True)
class Treatment:
    """What becomes of documents, whatever they are read from: which are left out, and how the others become rows."""

    bad_rows: float
    normalize: Normalize
    min_length: int
    warn_below: int | None
    filter: Filter
    deduplicate: bool
    token_budget: int | str | None
    layout: Literal["pack", "lines"]
    attention: Literal["row", "document"]
    long_documents: Literal["split", "truncate"]
    sequence_length: int
    tokenizer: Tokenizer
    split: Split


@dataclass(frozen=True, kw_only=True)
class TextData(Treatment):
    """Plain text; `documents` says what one document is. `path` may be `sample:NAME`."""

    kind: Literal["text"]
    path: tuple[str, ...]
    documents: Literal["line", "paragraph", "file"]


@dataclass(frozen=True, kw_only=True)
class JsonlData(Treatment):
    """One JSON object a line; the document is its `field`, `target` and `relations` what is to be predicted of it."""

    kind: Literal["jsonl"]
    path: tuple[str, ...]
    field: str
    target: str | None
    relations: str | None


@dataclass(frozen=True, kw_only=True)
class ParquetData(Treatment):
    """Parquet files; the document is the column `field`."""

    kind: Literal["parquet"]
    path: tuple[str, ...]
    field: str


@dataclass(frozen=True, kw_only=True)
class HubData(Treatment):
    """A data set of the Hugging Face Hub, or a local directory in Hub layout."""

    kind: Literal["hub"]
    path: str
    config: str | None
    revision: str | None
    subset: str
    streaming: bool
    block_documents: int
    disk_budget: str
    field: str


@dataclass(frozen=True, kw_only=True)
class ConllData(Treatment):
    """Tokens and their BIO tags in columns; the document is a sentence."""

    kind: Literal["conll"]
    path: tuple[str, ...]


# One source of documents, for itself or as each one of a mixture is read
SingleData = TextData | JsonlData | ParquetData | HubData | ConllData


@dataclass(frozen=True, kw_only=True)
class MixedText:
    """Plain text as one source of a mixture; the next three are the other kinds as such."""

    kind: Literal["text"]
    weight: float
    path: tuple[str, ...]
    documents: Literal["line", "paragraph", "file"]


@dataclass(frozen=True, kw_only=True)
class MixedJsonl:
    kind: Literal["jsonl"]
    weight: float
    path: tuple[str, ...]
    field: str


@dataclass(frozen=True, kw_only=True)
class MixedParquet:
    kind: Literal["parquet"]
    weight: float
    path: tuple[str, ...]
    field: str


@dataclass(frozen=True, kw_only=True)
class MixedHub:
    kind: Literal["hub"]
    weight: float
    path: str
    config: str | None
    revision: str | None
    subset: str
    field: str


MixedSource = MixedText | MixedJsonl | MixedParquet | MixedHub


@dataclass(frozen=True, kw_only=True)
class MixData(Treatment):
    """Several sources, drawn by weight; all but `sources` holds for each of them."""

    kind: Literal["mix"]
    sources: tuple[MixedSource, ...]


Data = TextData | JsonlData | ParquetData | HubData | MixData | ConllData


def streamed(data: Data) -> TypeGuard[HubData]:
    """Is it read while training, instead of before?"""
    return isinstance(data, HubData) and data.streaming
