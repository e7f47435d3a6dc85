"""Which values of a resolved job are files and folders of this machine, and the same job with other paths in their
place: what a launcher needs that carries a job's inputs to another machine.

The schema says it (`format: path` and `path-or-name`), so a new field that names a file is found without a word here.
"""

import copy
from collections.abc import Callable, Iterator, Mapping
from pathlib import PurePath
from typing import Any

from runjob.schemas.schema import TAGS, Schema, bundled_schema, follow, tags_of, types_of

FORMATS = ("path", "path-or-name")
# What a launcher reads here and never there
OF_THIS_MACHINE = ("hardware.",)


def local_paths(values: Mapping[str, Any]) -> dict[str, str]:
    """Dotted place in the job -> absolute path (it may be a pattern), for each one that lies on this machine: samples,
    addresses and names on the Hub are found anywhere.

    >>> local_paths({"data": {"kind": "text", "path": ["/corpora/a.txt", "sample:dutch"]}})
    {'data.path[0]': '/corpora/a.txt'}
    """
    return {
        where: value
        for where, value in _paths(values, bundled_schema(), "")
        if PurePath(value).is_absolute() and not where.startswith(OF_THIS_MACHINE)
    }


def relocated(values: Mapping[str, Any], move: Callable[[str], str]) -> dict[str, Any]:
    """The same job values with `move(path)` in the place of each local path."""
    moved: dict[str, Any] = copy.deepcopy(dict(values))
    for where, path in local_paths(values).items():
        _put(moved, where, move(path))
    return moved


def _paths(value: Any, field: Schema, where: str) -> Iterator[tuple[str, str]]:  # noqa: ANN401 - any JSON value
    schema = _branch(follow(field), value)
    if isinstance(value, str):
        if schema.get("format") in FORMATS:
            yield where, value
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from _paths(item, schema.get("items", {}), f"{where}[{number}]")
    elif isinstance(value, dict):
        fields, free = schema.get("properties", {}), schema.get("additionalProperties", {})
        for key, item in value.items():
            one = fields.get(key, free)
            if isinstance(one, dict):
                yield from _paths(item, one, f"{where}.{key}" if where else key)


def _branch(schema: Schema, value: Any) -> Schema:  # noqa: ANN401 - any JSON value
    """Of a `oneOf` the variant of the value's tags, of an `anyOf` the branch of its type."""
    if "oneOf" in schema and isinstance(value, dict):
        named = {tag: value[tag] for tag in TAGS if tag in value}
        return next(one for one in map(follow, schema["oneOf"]) if tags_of(one).items() <= named.items())
    if "anyOf" in schema:
        kind = "array" if isinstance(value, list) else "string"
        return next((one for one in map(follow, schema["anyOf"]) if kind in types_of(one)), schema)
    return schema


def _put(values: Any, where: str, path: str) -> None:  # noqa: ANN401 - any JSON value
    """Set the value at a dotted place such as `data.sources[0].path[1]`. Keys of free mappings may hold dots, so the
    place is searched and not cut apart."""
    if isinstance(values, list):
        number, _, rest = where[1:].partition("]")
        if not rest:
            values[int(number)] = path
        else:
            _put(values[int(number)], rest.removeprefix("."), path)
        return
    key = max((key for key in values if where == key or where.startswith((f"{key}.", f"{key}["))), key=len)
    rest = where[len(key) :]
    if not rest:
        values[key] = path
    else:
        _put(values[key], rest.removeprefix("."), path)
