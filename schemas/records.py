"""A small JSON file of ours, taken only as what was written: all the fields of its dataclass, each of its type. A bit
that flipped, or a file that was cut, is named where it is read and not felt three rooms further on. A digit that became
another digit is still a number, so what decides a computation carries a sum of itself."""

import dataclasses
import functools
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

from runjob.schemas.errors import RunjobError

Record = TypeVar("Record")
SEAL = "sha256"


def damaged(path: Path, why: str) -> RunjobError:
    return RunjobError(f"{path}: damaged: {why}")


def digest_of(value: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def sealed(value: Mapping[str, Any]) -> dict[str, Any]:
    """With `sha256`, the sum of all the rest."""
    return {**value, SEAL: digest_of(value)}


def refuse_broken_seal(raw: Mapping[str, Any], path: Path, *, way_on: str) -> None:
    """RunjobError if the file holds another sum than its own; one of before there were seals has none."""
    value = {key: item for key, item in raw.items() if key != SEAL}
    if SEAL in raw and raw[SEAL] != digest_of(value):
        raise damaged(path, f"its sha256 is not that of what it holds; {way_on}")


def unsealed(raw: Any, path: Path, *, way_on: str) -> Any:  # noqa: ANN401 - any JSON value
    """What the file holds besides its sum; RunjobError if it holds another sum than its own."""
    if not isinstance(raw, dict):
        return raw
    refuse_broken_seal(raw, path, way_on=way_on)
    return {key: item for key, item in raw.items() if key != SEAL}


def as_record(raw: Any, kind: type[Record], path: Path) -> Record:  # noqa: ANN401 - any JSON value
    """`raw`, which stands in `path`, as a dataclass of plain fields; RunjobError says which field is not as written."""
    if not isinstance(raw, dict):
        raise damaged(path, "it holds no JSON object")
    try:
        record = kind(**raw)
    except TypeError as error:
        raise damaged(path, str(error).partition("() ")[2]) from error
    for name, types, words in _fields(kind):  # type: ignore[arg-type] # a class is its own key
        value = getattr(record, name)
        if type(value) not in types and not (isinstance(value, str) and value in words):
            raise damaged(path, f"{name} is {value!r}")
    return record


@functools.cache  # `ps --json` reads ten thousand of them
def _fields(kind: type) -> tuple[tuple[str, frozenset[type], frozenset[str]], ...]:
    """Of each field the types that JSON has for it, and the words among which it chooses."""
    return tuple((field.name, *in_json(field.type)) for field in dataclasses.fields(kind))


def in_json(annotation: Any) -> tuple[frozenset[type], frozenset[str]]:  # noqa: ANN401 - what stands behind a colon
    """
    >>> in_json(float | None) == (frozenset({int, float, type(None)}), frozenset())
    True
    >>> in_json(Literal["now", "then"]) == (frozenset(), frozenset({"now", "then"}))
    True
    """
    origin = get_origin(annotation)
    if origin is Literal:
        return frozenset(), frozenset(get_args(annotation))
    if origin in (Union, UnionType):
        parts = [in_json(one) for one in get_args(annotation)]
        return frozenset().union(*(types for types, _ in parts)), frozenset().union(*(words for _, words in parts))
    known = {float: (int, float), Mapping: (dict,), tuple: (list,)}
    return frozenset(known.get(origin or annotation, (annotation,))), frozenset()
