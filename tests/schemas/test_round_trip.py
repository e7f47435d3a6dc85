"""What the schema admits can be built and survives job.json; what it does not is answered without a traceback."""

import json
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runjob.schemas.build import build_job
from runjob.schemas.check import Checker
from runjob.schemas.problems import JobFileError
from runjob.schemas.read import read_job
from runjob.schemas.schema import Schema, bundled_schema, follow, types_of
from runjob.schemas.yaml import compose_text

CASES = Path(__file__).parent.parent / "cases"
# Without Zl and Zp, U+2028 and U+2029: PyYAML takes them for ends of lines, as YAML 1.1 did.
TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Cn", "Zl", "Zp"]), min_size=1, max_size=12)


def values(schema: Schema) -> st.SearchStrategy[Any]:
    """Every value that a schema admits, sizes kept small."""
    schema = follow(schema)
    for several in ("oneOf", "anyOf"):
        if several in schema:
            return st.one_of([values(branch) for branch in schema[several]])
    if "const" in schema:
        return st.just(schema["const"])
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    return st.one_of([of_type(name, schema) for name in types_of(schema)])


def of_type(name: str, schema: Schema) -> st.SearchStrategy[Any]:
    match name:
        case "null":
            return st.none()
        case "boolean":
            return st.booleans()
        case "integer":
            return st.integers(schema["minimum"], schema["maximum"])
        case "number":
            return st.floats(
                schema.get("minimum", schema.get("exclusiveMinimum")),
                schema.get("maximum", schema.get("exclusiveMaximum")),
                exclude_min="exclusiveMinimum" in schema,
                exclude_max="exclusiveMaximum" in schema,
                allow_infinity=False,  # which no job file can say
            )
        case "string" if "pattern" in schema:
            return st.from_regex(schema["pattern"].removesuffix("$") + r"\Z")
        case "string" if schema.get("format") == "path":
            return TEXT.map(lambda text: f"sample:{text}")
        case "string":
            return TEXT.map(lambda text: f"hub-{text}")
        case "array":
            return st.lists(
                values(schema["items"]), min_size=schema.get("minItems", 0), max_size=schema.get("maxItems", 3)
            )
    if schema["additionalProperties"] is True:
        return st.dictionaries(TEXT, st.booleans() | st.integers(0, 9) | st.dictionaries(TEXT, TEXT), max_size=2)
    if isinstance(schema["additionalProperties"], dict):
        return st.dictionaries(TEXT, values(schema["additionalProperties"]), max_size=2)
    if isinstance(schema["additionalProperties"], dict):
        return st.dictionaries(TEXT, values(schema["additionalProperties"]), max_size=2)
    fields = {key: values(field) for key, field in schema["properties"].items()}
    required = {key: fields.pop(key) for key in schema.get("required", ())}
    return st.fixed_dictionaries(required, optional=fields)


JOBS = values(bundled_schema())


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(JOBS)
def test_every_job_that_the_schema_admits_builds_and_survives_json(job):
    document = compose_text(json.dumps(job, ensure_ascii=False), "job.yaml")
    checker = Checker(Path("/"), document.refused, others={})
    resolved = checker.job(document.node)
    assert checker.problems == []
    built = build_job(resolved)
    assert build_job(json.loads(json.dumps(resolved))) == built
    assert built.name == job["name"]


LINES = (CASES / "valid" / "everything.yaml").read_text(encoding="utf-8").splitlines(keepends=True)
SCRAPS = [
    "  ",
    ":",
    "- ",
    "{",
    "}",
    "[",
    "]",
    "*a",
    "&a ",
    "!!int ",
    "'",
    '"',
    "<<: ",
    "\t",
    "# ",
    "1e999",
    "null",
    "é",
    "\x00",
]


@settings(max_examples=400, deadline=None)
@given(data=st.data())
def test_a_mutated_job_file_gets_an_answer_and_no_traceback(data, tmp_path_factory):
    lines = list(LINES)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(lines) - 1))
        match data.draw(st.sampled_from(["delete", "twice", "swap", "insert", "indent"])):
            case "delete":
                del lines[at]
            case "twice":
                lines.insert(at, lines[at])
            case "swap":
                lines[at], lines[0] = lines[0], lines[at]
            case "insert":
                cut = data.draw(st.integers(0, len(lines[at]) - 1))
                lines[at] = lines[at][:cut] + data.draw(st.sampled_from(SCRAPS)) + lines[at][cut:]
            case "indent":
                lines[at] = "  " + lines[at]
    path = tmp_path_factory.getbasetemp() / "mutated.yaml"
    path.write_text("".join(lines), encoding="utf-8")
    try:
        read_job(path)
    except JobFileError as error:
        assert error.problems
        assert len(str(error).split("\n")) == len(error.problems)


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(
        ["training.length", "evaluation", "seed", "data.path", "model.init.kind", "hardware.deepspeed.x.y", "a", ""]
    ),
    st.text(max_size=20)
    | st.sampled_from(["{", "[1, [2]]", "{kind: text}", "!!int 3", "'", "&a [*a]", "9" * 400, ".nan", "{a: .inf}"]),
)
def test_no_set_value_brings_the_reader_down(path, value):
    try:
        read_job(CASES / "valid" / "everything.yaml", [f"{path}={value}"])
    except JobFileError as error:
        assert all("\n" not in str(problem) for problem in error.problems)
