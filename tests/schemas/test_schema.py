"""The schema files are plain JSON Schema 2020-12 for any editor, and our walk over them judges as jsonschema does."""

import copy
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runjob.schemas.check import Checker, plain_node
from runjob.schemas.problems import DEFAULT, Mark
from runjob.schemas.read import read_job
from runjob.schemas.schema import BUNDLE, SCHEMA_ID, SECTIONS, bundle_text, bundled_schema, tags_of
from runjob.schemas.wording import expected

SCHEMAS = Path(bundled_schema.__wrapped__.__code__.co_filename).parent
VALID = sorted((Path(__file__).parent.parent / "cases" / "valid").glob("*.yaml"))
VALIDATOR = jsonschema.Draft202012Validator(bundled_schema())

# What check.py reads, and what only people and editors read
KEYWORDS = (
    {"type", "properties", "required", "additionalProperties", "items", "minItems", "maxItems", "pattern"}
    | {"minLength", "maxLength"}
    | {"enum", "const", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "oneOf", "anyOf", "$ref", "$defs"}
    | {"$schema", "$id", "$comment", "title", "description", "default", "examples", "format", "patternErrorMessage"}
)


def parts(schema: Any, path: str = ""):
    """Every sub-schema with its place; names of fields are not keywords."""
    yield path, schema
    for keyword in ("properties", "$defs"):
        for name, part in schema.get(keyword, {}).items():
            yield from parts(part, f"{path}/{keyword}/{name}")
    for keyword in ("oneOf", "anyOf"):
        for i, part in enumerate(schema.get(keyword, ())):
            yield from parts(part, f"{path}/{keyword}/{i}")
    if isinstance(schema.get("items"), dict):
        yield from parts(schema["items"], f"{path}/items")


def test_the_bundled_schema_is_a_valid_schema_with_a_versioned_id():
    jsonschema.Draft202012Validator.check_schema(bundled_schema())
    assert bundled_schema()["$id"] == SCHEMA_ID == "urn:runjob:job:1"


@pytest.mark.parametrize("section", ["job", *SECTIONS])
def test_each_section_file_is_a_valid_schema(section):
    schema = json.loads((SCHEMAS / f"{section}.schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)


def test_the_committed_bundle_is_the_sections_of_today():
    """If the change is meant: `python -c "from runjob.schemas.schema import *; print(bundle_text(), end='')"`."""
    assert (SCHEMAS / BUNDLE).read_text(encoding="utf-8") == bundle_text()


def test_no_schema_uses_a_keyword_that_the_walk_does_not_read():
    for path, schema in parts(bundled_schema()):
        assert set(schema) <= KEYWORDS, path


def test_every_pattern_says_its_rule_in_words_and_nothing_else_does():
    """Editors show it in the place of the expression; `validate` writes `expected RULE, such as EXAMPLE, not ...`."""
    for path, schema in parts(bundled_schema()):
        assert ("pattern" in schema) == ("patternErrorMessage" in schema), path
        if "pattern" in schema:
            assert expected(schema) == schema["patternErrorMessage"] + (
                f", such as `{schema['examples'][0]}`" if "examples" in schema else ""
            ), path


def test_every_field_has_a_description_and_valid_examples():
    for path, schema in parts(bundled_schema()):
        properties = schema.get("properties", {})
        for name, field in properties.items():
            whole = field
            while "$ref" in whole:
                beside = {key: value for key, value in whole.items() if key != "$ref"}
                whole = {**bundled_schema()["$defs"][whole["$ref"].removeprefix("#/$defs/")], **beside}
            assert whole.get("description"), f"{path}/{name}"
            assert whole.get("examples"), f"{path}/{name}"
            one = VALIDATOR.evolve(schema={**whole, "$defs": bundled_schema()["$defs"]})
            for example in whole["examples"]:
                one.validate(example)
            if "default" in whole:
                one.validate(whole["default"])


def test_variants_tell_themselves_apart_by_kind_and_where_it_is_shared_by_architecture():
    for path, schema in parts(bundled_schema()):
        if "oneOf" in schema:
            assert all(set(branch) == {"$ref"} for branch in schema["oneOf"]), path
            branches = [bundled_schema()["$defs"][b["$ref"].removeprefix("#/$defs/")] for b in schema["oneOf"]]
            names = [tuple(tags_of(branch).values()) for branch in branches]
            assert len(set(names)) == len(names), path
            kinds = [name[0] for name in names]
            assert all(len(name) == 1 + (kinds.count(name[0]) > 1) for name in names), path
            assert all("kind" in branch["required"] for branch in branches), path


@pytest.mark.parametrize("path", VALID, ids=lambda path: path.stem)
def test_resolved_values_satisfy_the_schema_too(path):
    VALIDATOR.validate(read_job(path).values)


def places(value: Any, at: tuple[Any, ...] = ()):
    yield at
    if isinstance(value, dict):
        for key, item in value.items():
            yield from places(item, (*at, key))
    if isinstance(value, list):
        for i, item in enumerate(value):
            yield from places(item, (*at, i))


LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 2000),
    st.floats(-2, 2),
    st.sampled_from(["", "all", "never", "3 steps", "2 epochs", "10k tokens", "hash", "cpu", "text", "24GiB", "x"]),
    st.just([]),
    st.just({}),
    st.just({"kind": "linear"}),
    st.just(["a"]),
)
RESOLVED = [read_job(path).values for path in VALID]


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_the_walk_and_jsonschema_agree_on_changed_jobs(data):
    job = copy.deepcopy(data.draw(st.sampled_from(RESOLVED)))
    for _ in range(data.draw(st.integers(1, 3))):
        *above, last = data.draw(st.sampled_from([place for place in places(job) if place]))
        inside = job
        for key in above:
            inside = inside[key]
        match data.draw(st.sampled_from(["replace", "replace", "delete", "add"])):
            case "replace":
                inside[last] = copy.deepcopy(data.draw(LEAVES))  # st.just gives one object to all
            case "delete":
                del inside[last]
            case "add":
                if isinstance(inside, dict):
                    inside["unheard_of"] = 1
    checker = Checker(Path("/"), (), others={})
    checker.job(plain_node(job, Mark("job.yaml", 1, 1)))
    assert (not checker.problems) == VALIDATOR.is_valid(job), (job, checker.problems)
    assert all(mark != DEFAULT for mark in [checker.marks[""]])
