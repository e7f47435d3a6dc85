"""A small JSON file of ours, taken only as what was written: all the fields of its dataclass, each of its type. A bit
that flipped, or a file that was cut, is named where it is read and not felt three rooms further on. A digit that became
another digit is still a number, so what decides a computation carries a sum of itself."""

import dataclasses
import functools
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin

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


def as_record(raw: Any, kind: type[Record], path: Path) -> Record:  # noqa: ANN401 - any JSON value
    """`raw`, which stands in `path`, as a dataclass of plain fields; RunjobError says which field is not as written."""
    if not isinstance(raw, dict):
        raise damaged(path, "it holds no JSON object")
    try:
        record = kind(**raw)
    except TypeError as error:
        raise damaged(path, str(error).partition("() ")[2]) from error
    for name, kinds in _kinds(kind):
        value = getattr(record, name)
        # a choice is one of its words; anything else goes by type, where True is no number
        if value not in kinds if isinstance(kinds[0], str) else type(value) not in kinds:
            raise damaged(path, f"{name} is {value!r}")
    return record


@functools.cache
def _kinds(kind: type) -> tuple[tuple[str, tuple[Any, ...]], ...]:
    """Of each field its choices, or the types that JSON has for it."""
    return tuple((field.name, _kind_of(field.type)) for field in dataclasses.fields(kind))


def _kind_of(annotation: Any) -> tuple[Any, ...]:  # noqa: ANN401 - whatever stands behind a field's colon
    if get_origin(annotation) is Literal:
        return get_args(annotation)
    if get_origin(annotation) is Mapping:
        return (dict,)
    return (int, float) if annotation is float else (annotation,)
