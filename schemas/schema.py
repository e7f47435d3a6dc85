"""The schema files beside this one as one dictionary.

Each section has its own file; here they become one self-contained schema whose `$ref`s all point into its `$defs`: what
a job is, once it is whole. `schemas/runjob-job.v1.schema.json` is what editors make of it, since a file that extends
another need not say everything; it is committed (tests hold it equal).
"""

import functools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SECTIONS = ("data", "model", "objective", "training", "evaluation", "hardware", "tracking", "output")
BUNDLE = "runjob-job.v1.schema.json"
SCHEMA_ID = "urn:runjob:job:1"
# Fields whose one allowed word tells variants apart, in the order in which they are looked at
TAGS = ("kind", "architecture", "algorithm")
# Before the names in `$defs` of what a file may say in part
PARTIAL = "partial."
DEFS = "#/$defs/"
_HERE = Path(__file__).parent

# A schema, or a part of one: JSON
Schema = dict[str, Any]


@functools.cache
def bundled_schema() -> Schema:
    """The whole schema; `$defs` holds `data`, `data.text`, `training.adamw` and so on."""
    job = _load("job")
    definitions: Schema = {}
    for section in SECTIONS:
        whole = _load(section)
        for name, part in whole.pop("$defs", {}).items():
            definitions[f"{section}.{name}"] = _point_into(part, section)
        whole.pop("$schema")
        definitions[section] = _point_into(whole, section)
    return {"$schema": job.pop("$schema"), "$id": SCHEMA_ID, **_point_into(job, ""), "$defs": definitions}


@functools.cache
def variation_schema() -> dict[str, Schema]:
    """The fields by which files vary, `extends` and `matrix`: a job that is whole has none of them."""
    fields: dict[str, Schema] = _load("variation")["properties"]
    return fields


def published_schema() -> Schema:
    """What editors get. `$defs` has `job`, a file that says everything, and `partial.job`, the same with nothing
    required: one that extends another leaves things out, and an editor sees one file alone. `validate` knows the other
    files, and judges the whole."""
    whole = bundled_schema()
    job = {key: whole[key] for key in ("type", "additionalProperties", "required")}
    job["properties"] = {**whole["properties"], **variation_schema()}
    definitions = {"job": job, **whole["$defs"]}
    partial = {f"{PARTIAL}{name}": _partial(part) for name, part in definitions.items()}
    return {
        **{key: whole[key] for key in ("$schema", "$id", "title", "description", "type")},
        "if": {"anyOf": [{"required": [key]} for key in variation_schema()]},
        "then": {"$ref": f"{DEFS}{PARTIAL}job"},
        "else": {"$ref": f"{DEFS}job"},
        "$defs": {**definitions, **partial},
    }


def bundle_text() -> str:
    return json.dumps(published_schema(), indent=2, ensure_ascii=False) + "\n"


def _partial(part: Any) -> Any:  # noqa: ANN401 - any JSON value
    """The same with nothing required; without their `kind` several variants may fit at once."""
    if isinstance(part, list):
        return [_partial(item) for item in part]
    if not isinstance(part, dict):
        return part
    kept = {key: value for key, value in part.items() if not (key == "required" and isinstance(value, list))}
    loose = {"anyOf" if key == "oneOf" else key: _partial(value) for key, value in kept.items()}
    if isinstance(part.get("$ref"), str):
        loose["$ref"] = f"{DEFS}{PARTIAL}{part['$ref'].removeprefix(DEFS)}"
    return loose


def follow(schema: Schema, bundle: Schema | None = None) -> Schema:
    """The schema that a `$ref` names (in this bundle, else in today's), with what stands beside the `$ref` laid over
    it."""
    while "$ref" in schema:
        beside = {key: value for key, value in schema.items() if key != "$ref"}
        definitions = (bundled_schema() if bundle is None else bundle)["$defs"]
        schema = {**definitions[schema["$ref"].removeprefix("#/$defs/")], **beside}
    return schema


def leaves_of(schema: Schema, above: str = "") -> Iterator[tuple[str, Schema]]:
    """Every field that holds no others, by its dotted path; of all variants, so a path may come more than once."""
    for branch in variants(schema).values() if "oneOf" in schema else [schema]:
        for name, field in branch.get("properties", {}).items():
            whole, path = follow(field), f"{above}{name}"
            if "oneOf" in whole or "properties" in whole:
                yield from leaves_of(whole, f"{path}.")
            else:
                yield path, whole


def homes_of(key: str) -> tuple[str, ...]:
    """Every path of a job whose last word this is.

    >>> homes_of("log_every")
    ('training.log_every',)
    """
    return tuple(path for path in _every_path() if path.rpartition(".")[2] == key)


@functools.cache
def _every_path() -> tuple[str, ...]:
    return tuple(sorted({path for path, _ in leaves_of(bundled_schema())}))


def variants(schema: Schema) -> dict[str, Schema]:
    """The branches of a `oneOf` by name: their `kind`, and where several share one, their `architecture` after it."""
    return {" ".join(tags_of(branch).values()): branch for branch in map(follow, schema["oneOf"])}


def tags_of(branch: Schema) -> dict[str, str]:
    """What tells this (followed) branch of a `oneOf` from the others, in the order in which it is looked at."""
    fields = branch["properties"]
    return {tag: follow(fields[tag])["const"] for tag in TAGS if tag in fields and "const" in follow(fields[tag])}


def types_of(schema: Schema) -> tuple[str, ...]:
    """The JSON types that a (followed) schema admits."""
    if "type" in schema:
        return (schema["type"],) if isinstance(schema["type"], str) else tuple(schema["type"])
    if "oneOf" in schema:
        return ("object",)
    if "anyOf" in schema:
        return tuple(name for branch in schema["anyOf"] for name in types_of(follow(branch)))
    return ()


def _load(name: str) -> Schema:
    loaded: Schema = json.loads((_HERE / f"{name}.schema.json").read_text(encoding="utf-8"))
    return loaded


def _point_into(part: Any, section: str) -> Any:  # noqa: ANN401 - any JSON value
    """The same part with `#/$defs/x` as `#/$defs/section.x`, and `section.schema.json` as `#/$defs/section`."""
    if isinstance(part, list):
        return [_point_into(item, section) for item in part]
    if not isinstance(part, dict):
        return part
    moved = {key: _point_into(value, section) for key, value in part.items()}
    if isinstance(part.get("$ref"), str):
        local, name = part["$ref"].startswith("#"), part["$ref"].rpartition("/")[2]
        moved["$ref"] = f"#/$defs/{section}.{name}" if local else f"#/$defs/{name.removesuffix('.schema.json')}"
    return moved
