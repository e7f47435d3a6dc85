"""What a tokenizer's own files (tokenizer.json and what lies beside it) say of it without the libraries that run it,
and why it does not fit a network. Judged by the submission where the tokenizer lies on this machine, and by the worker
wherever it came from."""

import json
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runjob.schemas.json_object import read_object

ENGINE = "tokenizer.json"
# Any of these in a directory is a tokenizer; without one, transformers may make up an empty one
TOKENIZER_FILES = (ENGINE, "spm.model", "spiece.model", "sentencepiece.bpe.model", "vocab.txt", "vocab.json")
# Where transformers writes down which token pads, newest first
SETTINGS = ("tokenizer_config.json", "special_tokens_map.json")
SPACE_MARK = "▁"
# transformers' MPNet has this id for padding, whatever the configuration says; positions are counted from the next one
MPNET_PADDING = 1
SHOWN = 3


@dataclass(frozen=True, kw_only=True)
class TokenizerFiles:
    """`tokens` by id, those that were `added` among them; `padding` is None where no file says which token pads."""

    engine: Mapping[str, Any]
    tokens: Mapping[int, str]
    added: Set[int]
    padding: int | None

    @property
    def size(self) -> int:
        return len(self.tokens)


def read_tokenizer(folder: Path) -> TokenizerFiles | None:
    """None where a directory has no engine of its own that can be read, which is the worker's to judge."""
    engine = read_object(folder / ENGINE)
    if "model" not in engine or "vocab" not in engine["model"]:
        return None
    vocabulary = engine["model"]["vocab"]
    if isinstance(vocabulary, dict):
        tokens = {id_: token for token, id_ in vocabulary.items()}
    else:  # Unigram: a token and its score, in the order of ids
        tokens = {id_: token for id_, (token, _) in enumerate(vocabulary)}
    added = {one["id"]: one["content"] for one in engine.get("added_tokens") or ()}
    tokens |= added
    return TokenizerFiles(engine=engine, tokens=tokens, added=added.keys(), padding=_padding(folder, tokens))


def _padding(folder: Path, tokens: Mapping[int, str]) -> int | None:
    for name in SETTINGS:
        said = read_object(folder / name).get("pad_token")
        if said is not None:
            token = said["content"] if isinstance(said, dict) else said
            return next((id_ for id_, text in tokens.items() if text == token), None)
    return None


def word_scheme(engine: Mapping[str, Any]) -> str | None:
    """`bytes`, `spaces`, or the prefix of WordPiece's inner pieces; None where words are not marked."""
    if engine["model"]["type"] == "WordPiece":
        prefix: str = engine["model"]["continuing_subword_prefix"]
        return prefix or None
    kinds = {*_types(engine["pre_tokenizer"]), *_types(engine["decoder"])}
    if "ByteLevel" in kinds:
        return "bytes"
    # some SentencePiece vocabularies are written with replacements instead of a Metaspace
    return "spaces" if "Metaspace" in kinds or SPACE_MARK in json.dumps(engine["decoder"], ensure_ascii=False) else None


def _types(part: Any) -> Iterator[str]:  # noqa: ANN401 - any JSON value
    """The `type` of a step and of all steps inside it."""
    if isinstance(part, dict):
        if isinstance(part.get("type"), str):
            yield part["type"]
        for inner in part.values():
            yield from _types(inner)
    elif isinstance(part, list):
        for inner in part:
            yield from _types(inner)


def no_words(engine: Mapping[str, Any]) -> str:
    """Why no whole words can be hidden with one that has no scheme."""
    return (
        f"this tokenizer ({engine['model']['type']}) has no mark for the beginning of a word, such as WordPiece's ##, "
        "SentencePiece's ▁ or a byte-level space; choose one that has, or write `unit: token`"
    )


def padding_problem(padding: int | None) -> str | None:
    """Why MPNet can't read its rows."""
    if padding == MPNET_PADDING:
        return None
    has = "none" if padding is None else f"id {padding}"
    return (
        f"mpnet takes id {MPNET_PADDING} for padding, and the tokenizer has {has}; use a tokenizer made for MPNet or "
        "RoBERTa (<s>, <pad>, </s> first), one that the job trains with `marks: mpnet`, or architecture bert"
    )


def vocabulary_problem(
    mine: Mapping[int, str], theirs: Mapping[int, str], *, added: Set[int], where: str, path: str
) -> str | None:
    """Why the rows of the checkpoint `path` (at `where` in the job), whose tokens are `theirs`, do not stand for those
    of `mine`; of these, `added` ones may be new."""
    differing = [id_ for id_ in sorted(mine.keys() & theirs.keys()) if mine[id_] != theirs[id_]]
    if differing:
        shown = ", ".join(f"{id_}: {mine[id_]!r} here, {theirs[id_]!r} there" for id_ in differing[:SHOWN])
        return (
            f"{len(differing):,} of its {len(mine):,} ids are other tokens than in {where} {path} ({shown}), whose "
            f"rows would stand for the wrong words; write data.tokenizer: {{kind: pretrained, path: {path}}}, or "
            "init.kind: scratch"
        )
    strange = [mine[id_] for id_ in sorted(mine.keys() - theirs.keys()) if id_ not in added]
    if strange:
        return (
            f"{len(strange):,} of its pieces are unknown to {where} {path} "
            f"({', '.join(map(repr, strange[:SHOWN]))}) and no added terms; add words with data.tokenizer.terms"
        )
    return None


def rows_problem(tokens: int, *, rows: int, where: str, path: str) -> str | None:
    """Why a table of the checkpoint `path` is too small for so many tokens."""
    if tokens <= rows:
        return None
    return (
        f"its {tokens} ids do not fit the {rows} rows of {where} {path}; use that model's own tokenizer, or "
        "init.kind: scratch"
    )
