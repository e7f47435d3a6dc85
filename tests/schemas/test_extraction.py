"""The published schema of what `extract` writes and the dataclasses that are written say the same."""

import dataclasses
import json

import jsonschema
import pytest

from runjob.schemas.extraction import (
    EXTRACTION_ID,
    Entity,
    Extraction,
    ModelName,
    Models,
    Relation,
    Stretch,
    extraction_line,
    extraction_schema_text,
)

SCHEMA = json.loads(extraction_schema_text())
PLAIN = {int: "integer", float: "number", str: "string"}


def test_it_is_a_schema_with_a_versioned_id_that_the_command_prints(runjob) -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["$id"] == EXTRACTION_ID == "urn:runjob:extraction:1"
    assert runjob("schema", "extraction").stdout == extraction_schema_text()


@pytest.mark.parametrize(
    ("name", "cls"),
    [
        (None, Extraction),
        ("stretch", Stretch),
        ("entity", Entity),
        ("relation", Relation),
        ("models", Models),
        ("model", ModelName),
    ],
)
def test_fields_and_types_are_the_same_and_all_are_required(name: str | None, cls: type) -> None:
    schema = SCHEMA if name is None else SCHEMA["$defs"][name]
    fields = {field.name: field.type for field in dataclasses.fields(cls)}
    assert set(schema["properties"]) == set(schema["required"]) == set(fields)
    assert schema["additionalProperties"] is False
    for field, kind in fields.items():
        if kind in PLAIN:
            assert schema["properties"][field]["type"] == PLAIN[kind], field


def test_a_line_is_the_record_in_the_order_of_its_fields() -> None:
    one = Extraction(
        document=0,
        file="a.jsonl",
        line=1,
        sentences=(Stretch(start=0, end=9),),
        entities=(Entity(start=0, end=5, text="\u00e9lans", label="TAXON", confidence=0.5),),
        relations=(Relation(head=0, tail=1, label="IS_A", confidence=1.0),),
        unasked=2,
        models=Models(ner=ModelName(id="ner-1a2b3c4d", sha256="0" * 64), re=None),
    )
    line = extraction_line(one)
    assert line.startswith('{"document": 0, "file": "a.jsonl", "line": 1, "sentences": [{"start": 0, "end": 9}], ')
    assert '"text": "\u00e9lans"' in line
    jsonschema.Draft202012Validator(SCHEMA).validate(json.loads(line))
    wrong = json.loads(line) | {"document": -1}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(SCHEMA).validate(wrong)
