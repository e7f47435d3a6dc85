"""The schema files and the dataclasses say the same: names, types, what is required, choices, and typed defaults."""

import dataclasses
import types
from typing import Any, Literal, Union, get_args, get_origin

import pytest

from runjob.schemas.build import build_value
from runjob.schemas.job import Job
from runjob.schemas.quantities import Quantity
from runjob.schemas.schema import TAGS, bundled_schema, follow, types_of, variants

PLAIN = {int: "integer", float: "number", str: "string", bool: "boolean", type(None): "null"}


def walk(schema: dict[str, Any], annotation: Any, path: str):
    """Every (path, schema of a field, its annotation), section by section, variant by variant."""
    schema = follow(schema)
    branches = get_args(annotation) if is_union(annotation) else (annotation,)
    classes = [branch for branch in branches if dataclasses.is_dataclass(branch) and branch is not Quantity]
    yield path, schema, annotation
    for cls in classes:
        chosen = variants(schema)[name_of(cls)] if "oneOf" in schema else schema
        hints = {field.name: field.type for field in dataclasses.fields(cls)}
        assert set(chosen["properties"]) == set(hints), f"{path} ({cls.__name__})"
        assert chosen["additionalProperties"] is False, path
        for name, field in chosen["properties"].items():
            yield from walk(field, hints[name], f"{path}.{name}" if path else name)


def is_union(annotation: Any) -> bool:
    return isinstance(annotation, types.UnionType) or get_origin(annotation) is Union


def name_of(cls: type) -> str:
    words = {field.name: get_args(field.type) for field in dataclasses.fields(cls)}
    return " ".join(words[tag][0] for tag in TAGS if tag in words)


FIELDS = list(walk(bundled_schema(), Job, ""))


def test_every_section_and_variant_is_seen():
    assert len(FIELDS) > 100
    assert {path.partition(".")[0] for path, _, _ in FIELDS} == {"", *bundled_schema()["properties"]}


def test_every_variant_of_the_schema_is_a_dataclass_and_the_other_way_round():
    for path, schema, annotation in FIELDS:
        if "oneOf" in schema:
            classes = get_args(annotation) if is_union(annotation) else (annotation,)
            assert set(variants(schema)) == {name_of(cls) for cls in classes}, path


@pytest.mark.parametrize(("path", "schema", "annotation"), FIELDS, ids=[f"{i}-{f[0]}" for i, f in enumerate(FIELDS)])
def test_types_and_choices_are_the_same(path, schema, annotation):
    branches = get_args(annotation) if is_union(annotation) else (annotation,)
    expected: set[str] = set()
    words: set[Any] = set()
    for branch in branches:
        if get_origin(branch) is Literal:
            words |= set(get_args(branch))
            expected |= {PLAIN[type(word)] for word in get_args(branch)}
        elif branch is Quantity:
            expected |= {"string", "number"} if "anyOf" in schema else {"string"}
        elif dataclasses.is_dataclass(branch) or get_origin(branch) is dict:
            expected.add("object")
        elif get_origin(branch) is tuple:
            # a list of paths may be written as one path
            expected |= {"array", "string"} if "anyOf" in schema else {"array"}
        else:
            expected.add(PLAIN[branch])
    assert set(types_of(schema)) == expected, path
    parts = [schema, *schema.get("anyOf", ()), schema.get("items", {})]
    allowed = {word for part in parts for word in part.get("enum", [part["const"]] if "const" in part else [])}
    for branch in branches:
        if get_origin(branch) is tuple and get_origin(get_args(branch)[0]) is Literal:
            words |= set(get_args(get_args(branch)[0]))
    assert allowed - {None} == words, path


@pytest.mark.parametrize(("path", "schema", "annotation"), FIELDS, ids=[f"{i}-{f[0]}" for i, f in enumerate(FIELDS)])
def test_a_default_has_the_fields_type_and_null_is_the_default_where_null_is_allowed(path, schema, annotation):
    optional = is_union(annotation) and type(None) in get_args(annotation)
    assert ("null" in types_of(schema)) == optional
    if optional:
        assert "default" in schema, path
    if "default" not in schema or isinstance(schema["default"], dict):
        return
    built = build_value(annotation, schema["default"])
    branches = get_args(annotation) if is_union(annotation) else (annotation,)
    allowed = [get_origin(b) or b for b in branches if get_origin(b) is not Literal]
    literals = [word for b in branches if get_origin(b) is Literal for word in get_args(b)]
    assert type(built) in allowed or built in literals, path


def test_a_field_is_required_or_has_a_default():
    def look(schema: dict[str, Any], path: str) -> None:
        schema = follow(schema)
        for branch in variants(schema).values() if "oneOf" in schema else [schema]:
            for name, field in branch.get("properties", {}).items():
                required = name in branch.get("required", ())
                assert required != ("default" in follow(field)), f"{path}.{name}"
                look(field, f"{path}.{name}")

    look(bundled_schema(), "")


def test_the_defaults_are_these():
    """A literal table: changing a default changes what people's runs do, so it shows up here."""
    defaults = {path: schema["default"] for path, schema, _ in FIELDS if "default" in schema}
    assert defaults["seed"] == 42
    assert defaults["data.split"] == {"kind": "hash"}
    assert defaults["training.schedule"] == {"kind": "cosine"}
    assert defaults["training.schedule.warmup"] == 0.05
    assert defaults["training.optimizer.betas"] == [0.9, 0.95]
    assert defaults["training.optimizer.eps"] == 1e-8
    assert defaults["training.optimizer.weight_decay"] == 0.1
    assert defaults["training.gradient_clipping"] == 1.0
    assert defaults["training.precision"] == "fp32"
    assert defaults["training.log_every"] == "10 steps"
    assert defaults["training.checkpoint.every"] == "500 steps"
    assert defaults["training.checkpoint.keep"] == 3
    assert defaults["evaluation.every"] == "500 steps"
    assert defaults["evaluation.best"] == "loss"
    assert defaults["model.init.dropout"] == 0.1
    assert defaults["hardware.zero"] == 0
    assert "hardware.device" not in defaults
