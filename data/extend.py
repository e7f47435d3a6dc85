"""A tokenizer that holds terms whole: each becomes one token, which stands for the whole word and for nothing else.

    Olenellus, (Olenellus)     one token           Olenelluses, myOlenellus     pieces, as ever

Two things of the engine are adjusted, or the words around a term would be cut otherwise than they are elsewhere. Where
pieces begin with the space before them (SentencePiece's ▁, byte-level's Ġ), a term takes that space along, as a token
of nothing but space would stand before each term; when ids become text again, it is written. And what follows a term
gets no ▁ as if it began a text. A text without any term keeps the ids that it had.

A term whose letters are a piece of longer words already (`ther` of `o|ther`) can't be a token: the engine has one id
for one spelling, and would give it that piece's, so that each `other` read as if the term stood in it. It is left out.
"""

import json
import re
from collections.abc import Collection, Iterable, Iterator
from typing import Any

from runjob.data.terms import Repeated, Term, TermTable
from runjob.data.words import scheme_of
from runjob.schemas.errors import DataError
from runjob.schemas.tokenizer_files import SPACE_MARK

SPECIAL = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
# What a transformers tokenizer knows besides its engine and its special tokens
RULES = ("model_max_length", "padding_side", "truncation_side", "model_input_names")
# What stands before a term in a sentence; the space between belongs to the term's first piece, or is one
BEFORE = "x"
# Of the step of a decoder that writes the space before a term; how its pattern begins is how it is known again
SPACED = r"^(?=(?:"


def extend(tokenizer: Any, terms: Iterable[Term], *, before: TermTable | None) -> tuple[Any, TermTable]:  # noqa: ANN401
    """A tokenizer with the terms, and the table of all that it was ever extended by; the one given stays as it is."""
    from tokenizers import AddedToken

    engine = bare_engine(tokenizer)
    spaced = scheme_of(tokenizer) in ("spaces", "bytes")
    table = before or TermTable(base_tokens=engine.get_vocab_size(), categories={}, known={}, inner={}, repeated=())
    categories = {name: dict(held) for name, held in table.categories.items()}
    known = {name: list(held) for name, held in table.known.items()}
    inner = {name: list(held) for name, held in table.inner.items()}
    repeated = list(table.repeated)
    first = {_read_as(engine, text): name for name, held in table.terms.items() for text in held}
    new: list[Term] = []
    for term in terms:
        read = _read_as(engine, term.text)
        _refuse(tokenizer, term, read)
        if read in first:
            repeated.append(Repeated(term=term.text, category=term.category, first=first[read]))
            continue
        first[read] = term.category
        whole = whole_token(engine, term.text, unknown=tokenizer.unk_token_id)
        if whole is None and engine.token_to_id(term.text) is not None:
            inner.setdefault(term.category, []).append(term.text)
            continue
        categories.setdefault(term.category, {})[term.text] = NEW if whole is None else whole
        if whole is None:
            new.append(term)
        else:
            known.setdefault(term.category, []).append(term.text)
    engine.add_tokens(
        [
            AddedToken(term.text, single_word=True, lstrip=spaced, normalized=_normalised(engine, term.text))
            for term in new
        ]
    )
    for term in new:
        categories[term.category][term.text] = engine.token_to_id(term.text)
    return _wrapped(_adjusted(engine), tokenizer), TermTable(
        base_tokens=table.base_tokens,
        categories=categories,
        known={name: tuple(held) for name, held in known.items()},
        inner={name: tuple(held) for name, held in inner.items()},
        repeated=tuple(repeated),
    )


NEW = -1  # until the engine has numbered them


def whole_token(engine: Any, text: str, *, unknown: int | None) -> int | None:  # noqa: ANN401 - tokenizers has no types
    """The one id of a term, alone and within a sentence; None where it takes several, or is unknown."""
    alone, within = engine.encode(text, add_special_tokens=False).ids, pieces_within(engine, text)
    if len(alone) != 1 or len(within) != 1 or unknown in (*alone, *within):
        return None
    return int(within[0])


def pieces_within(engine: Any, text: str) -> list[int]:  # noqa: ANN401
    """The ids that a term has in a sentence."""
    encoding = engine.encode(f"{BEFORE} {text}", add_special_tokens=False)
    return [id_ for id_, (_, end) in zip(encoding.ids, encoding.offsets, strict=True) if end > len(BEFORE)]


def added_tokens(tokenizer: Any) -> dict[int, str]:  # noqa: ANN401
    """What was added to a vocabulary and is no special token: terms."""
    special = set(tokenizer.all_special_ids)
    return {
        id_: token.content
        for id_, token in sorted(tokenizer.added_tokens_decoder.items())
        if not token.special and id_ not in special
    }


def old_pieces(tokenizer: Any, ids: Collection[int]) -> dict[int, list[int]]:  # noqa: ANN401
    """For each of these added tokens the ids that it would be cut into without them, in a sentence."""
    without, added = without_tokens(tokenizer, ids), tokenizer.added_tokens_decoder
    return {id_: pieces_within(without, added[id_].content) for id_ in ids}


def without_tokens(tokenizer: Any, ids: Collection[int]) -> Any:  # noqa: ANN401
    """The engine as it would be had these tokens not been added."""
    from tokenizers import Tokenizer

    parts = json.loads(bare_engine(tokenizer).to_str())
    parts["added_tokens"] = [token for token in parts["added_tokens"] if token["id"] not in ids]
    return Tokenizer.from_str(json.dumps(parts))


def bare_engine(tokenizer: Any) -> Any:  # noqa: ANN401
    """A copy of the engine that neither truncates nor pads."""
    from tokenizers import Tokenizer

    engine = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    engine.no_truncation()
    engine.no_padding()
    return engine


def _read_as(engine: Any, text: str) -> str:  # noqa: ANN401
    """Two terms that the tokenizer reads alike (in lower case, say) are one."""
    return engine.normalizer.normalize_str(text) if _normalised(engine, text) else text


def _normalised(engine: Any, text: str) -> bool:  # noqa: ANN401
    """Is the term looked for in what the normaliser makes of a text? Not where it would get a mark of space in it,
    which no word in a text has just there."""
    if engine.normalizer is None:
        return False
    read = engine.normalizer.normalize_str(text)
    return bool(read == read.strip() and SPACE_MARK not in read)


def _refuse(tokenizer: Any, term: Term, read: str) -> None:  # noqa: ANN401
    where = f"{term.origin}: the term {term.text!r}"
    if term.text in tokenizer.all_special_tokens:
        raise DataError(f"{where} is a special token of this tokenizer; take it off the list")
    if not re.search(r"\w", read):
        raise DataError(f"{where} has no letter and no digit that this tokenizer reads; take it off the list")


def _adjusted(engine: Any) -> Any:  # noqa: ANN401
    """The engine with what was said on top."""
    from tokenizers import Tokenizer

    parts = json.loads(engine.to_str())
    if (space := _only_metaspace(parts["pre_tokenizer"])) is not None and space["prepend_scheme"] == "always":
        space["prepend_scheme"] = "first"
        _keep_the_beginning(parts)
    terms = [token["content"] for token in parts["added_tokens"] if token["lstrip"] and not token["special"]]
    if terms and parts["decoder"] is not None:
        _write_spaces(parts, {*terms, *(_read_as(engine, text) for text in terms)})
    return Tokenizer.from_str(json.dumps(parts))


def _only_metaspace(part: Any) -> Any:  # noqa: ANN401 - JSON
    """The Metaspace of a pre-tokenizer that is nothing else; behind a step that cuts, `always` means every word."""
    if part is None or part["type"] == "Metaspace":
        return part
    inner = part["pretokenizers"] if part["type"] == "Sequence" else []
    return _only_metaspace(inner[0]) if len(inner) == 1 else None


def _keep_the_beginning(parts: dict[str, Any]) -> None:
    """`first` goes by the place in the text as it was, where white space taken off a text's beginning would have left
    its first word without ▁; so one space stays there, which becomes the ▁."""
    normalizer = parts["normalizer"]
    if normalizer is None:
        return
    steps = normalizer["normalizers"] if normalizer["type"] == "Sequence" else [normalizer]
    kept: list[dict[str, Any]] = []
    for step in steps:
        if step["type"] == "Strip" and step["strip_left"]:
            kept.append({"type": "Replace", "pattern": {"Regex": r"\A\s+"}, "content": " "})
            step = {**step, "strip_left": False}
        kept.append(step)
    parts["normalizer"] = {"type": "Sequence", "normalizers": kept}


def _write_spaces(parts: dict[str, Any], terms: set[str]) -> None:
    """A step in front of the decoder that writes the space which a term took along."""
    decoder = parts["decoder"]
    steps = decoder["decoders"] if decoder["type"] == "Sequence" else [decoder]
    steps = [step for step in steps if not _writes_spaces(step)]
    # Byte-level decoders take Latin-1 letters for bytes, unless something that is no byte's sign stands beside them.
    space = " " if any(step["type"] == "ByteLevel" for step in steps) else SPACE_MARK
    pattern = SPACED + "|".join(map(re.escape, sorted(terms))) + ")$)"
    parts["decoder"] = {
        "type": "Sequence",
        "decoders": [{"type": "Replace", "pattern": {"Regex": pattern}, "content": space}, *steps],
    }


def _writes_spaces(step: dict[str, Any]) -> bool:
    return step["type"] == "Replace" and str(step["pattern"].get("Regex", "")).startswith(SPACED)


def _wrapped(engine: Any, like: Any) -> Any:  # noqa: ANN401
    """A tokenizer of transformers that takes the engine as it is; classes named after a model make their own anew."""
    from transformers import PreTrainedTokenizerFast

    tokens = {name: like.added_tokens_decoder.get(id_, getattr(like, name)) for name, id_ in _special_ids(like)}
    rules = {name: getattr(like, name) for name in RULES}
    extra = [token for token in like.all_special_tokens if token not in {str(token) for token in tokens.values()}]
    return PreTrainedTokenizerFast(tokenizer_object=engine, **tokens, **rules, extra_special_tokens=extra)


def _special_ids(tokenizer: Any) -> Iterator[tuple[str, int]]:  # noqa: ANN401
    for name in SPECIAL:
        if getattr(tokenizer, name) is not None:
            yield name, getattr(tokenizer, f"{name}_id")
