"""Plain values, already checked, to the typed Job: the dataclasses' own annotations say how."""

import dataclasses
import types
from typing import Any, Union, get_args, get_origin

from runjob.schemas.job import Job
from runjob.schemas.quantities import Quantity, parse_quantity, parse_warmup
from runjob.schemas.schema import TAGS


def build_job(values: dict[str, Any]) -> Job:
    """The Job of the `job` object in job.json."""
    job: Job = build_value(Job, values)
    return job


def build_value(kind: Any, value: Any) -> Any:  # noqa: ANN401 - a type, and any JSON value
    """`value` as an instance of the annotation `kind`."""
    if dataclasses.is_dataclass(kind) and kind is not Quantity:
        return kind(**{field.name: build_value(field.type, value[field.name]) for field in dataclasses.fields(kind)})  # type: ignore[operator]
    if kind is Quantity:
        return parse_quantity(value) if isinstance(value, str) else parse_warmup(value)
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        return build_value(_branch(get_args(kind), value), value)
    if origin is tuple:
        item = get_args(kind)[0]
        return tuple(build_value(item, each) for each in ([value] if isinstance(value, str) else value))
    return value


def _branch(branches: tuple[Any, ...], value: Any) -> Any:  # noqa: ANN401 - the annotation that the value belongs to
    """Of a union: the dataclass of those tags (`kind`, `architecture`), the only one there is, or nothing to build."""
    if value is None:
        return type(None)
    listed = [branch for branch in branches if get_origin(branch) is tuple]
    if listed:
        return listed[0]
    built = [branch for branch in branches if dataclasses.is_dataclass(branch)]
    if len(built) == 1:
        return built[0]
    for branch in built:
        words = {field.name: get_args(field.type) for field in dataclasses.fields(branch) if field.name in TAGS}
        if all(value.get(tag) in allowed for tag, allowed in words.items()):
            return branch
    return type(value)
