"""What `runjob extract` writes: one of these a document, a line of JSON each. runjob-extraction.v1.schema.json says the
same to others (tests hold the two equal)."""

import json
from dataclasses import dataclass
from pathlib import Path

EXTRACTION = "runjob-extraction.v1.schema.json"
EXTRACTION_ID = "urn:runjob:extraction:1"


@dataclass(frozen=True, kw_only=True)
class Stretch:
    """Characters start .. end - 1 (code points, from 0) of the text as it stands in the corpus."""

    start: int
    end: int


@dataclass(frozen=True, kw_only=True)
class Entity:
    """`text` is what stands at start .. end - 1; `confidence` the mean probability of its tags."""

    start: int
    end: int
    text: str
    label: str
    confidence: float


@dataclass(frozen=True, kw_only=True)
class Relation:
    """`head` and `tail` are numbers of entities of the same document, from 0; `confidence` the label's probability."""

    head: int
    tail: int
    label: str
    confidence: float


@dataclass(frozen=True, kw_only=True)
class ModelName:
    """The run whose model it is, and the sha256 of its weights."""

    id: str
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Models:
    ner: ModelName
    re: ModelName | None


@dataclass(frozen=True, kw_only=True)
class Extraction:
    """`document` counts the documents of the corpus from 0; `file` and `line` (from 1) say where it stands. `unasked`
    are pairs of entities that relations were not asked of: longer with their marks than a row, or of one character."""

    document: int
    file: str
    line: int
    sentences: tuple[Stretch, ...]
    entities: tuple[Entity, ...]
    relations: tuple[Relation, ...]
    unasked: int
    models: Models


def extraction_line(one: Extraction) -> str:
    """As it is written, in the order of the fields, with its end of line."""
    models = {name: None if model is None else vars(model) for name, model in vars(one.models).items()}
    lists = {name: list(map(vars, getattr(one, name))) for name in ("sentences", "entities", "relations")}
    return json.dumps({**vars(one), **lists, "models": models}, ensure_ascii=False) + "\n"


def extraction_schema_text() -> str:
    return (Path(__file__).parent / EXTRACTION).read_text(encoding="utf-8")
