"""A job's values as a job file that explains itself: above each field the sentence that the schema has about it."""

import json
import re
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

from runjob.schemas.scalars import resolve_scalar
from runjob.schemas.schema import TAGS, Schema, follow, tags_of, variants

WIDTH = 110
# What may stand without quotes, wherever in a line: no sign that YAML could take for more than text
PLAIN = re.compile(r"[A-Za-z0-9_./]([A-Za-z0-9_./~+ -]*[A-Za-z0-9_./~+-])?|sample:[a-z0-9_]+")
Values = Mapping[str, Any]


def commented(values: Values, schema: Schema) -> str:
    """Sections apart by an empty line, as in the jobs that runjob ships."""
    text = "\n".join(_lines(values, schema, 0))
    # what stands before a section's own comment
    return re.sub(r"\n((?:#[^\n]*\n)+[a-z]+:\n)", r"\n\n\1", text) + "\n"


def _lines(values: Values, schema: Schema, level: int) -> Iterator[str]:
    indent = "  " * level
    branch = branch_of(values, schema)
    fields: Schema = branch.get("properties", {})
    for key, value in values.items():
        for line in _explained(key, fields.get(key, {}), branch, schema, width=WIDTH - len(indent)):
            yield f"{indent}# {line}"
        if isinstance(value, Mapping) and value:
            yield f"{indent}{key}:"
            yield from _lines(value, follow(fields.get(key, {})), level + 1)
        elif isinstance(value, list) and len(flow_text(value)) > WIDTH // 2:
            yield f"{indent}{key}:"
            yield from (f"{indent}  - {flow_text(item)}" for item in value)
        else:
            yield f"{indent}{key}: {flow_text(value)}"


def branch_of(values: Values, schema: Schema) -> Schema:
    """The variant that `values` are, where the schema has several."""
    if "oneOf" not in schema:
        return schema
    fits = (branch for branch in variants(schema).values() if tags_of(branch).items() <= values.items())
    return next(fits)


def _explained(key: str, field: Schema, branch: Schema, schema: Schema, *, width: int) -> list[str]:
    """What the schema says of a field in a sentence; of a word that chooses a variant, what the variant is."""
    whole = follow(field)
    if key in TAGS and "oneOf" in schema and "const" in whole:
        mine = tags_of(branch)
        before = {tag: mine[tag] for tag in TAGS[: TAGS.index(key)] if tag in mine}
        known = [tags_of(one).get(key) for one in variants(schema).values() if before.items() <= tags_of(one).items()]
        others = [word for word in dict.fromkeys(known) if word not in (None, whole["const"])]
        last = key == list(mine)[-1]
        said = _sentence(branch["description"]) if last else ""
        said += f" Others: {', '.join(map(str, others))}." if others else ""
    else:
        said = _sentence(whole.get("description", "")) + _choice(whole)
    return textwrap.wrap(said.strip(), width)


def _choice(field: Schema) -> str:
    words = " or ".join(map(flow_text, field["enum"])) if "enum" in field else ""
    default = field.get("default")
    usual = "" if default is None or isinstance(default, dict | list) else f"default {flow_text(default)}"
    inside = "; ".join(filter(None, [words, usual]))
    return f" ({inside})" if inside else ""


def _sentence(text: str) -> str:
    """Up to the first full stop before a space: `e.g. x` has none of ours."""
    return text.partition(". ")[0].rstrip(".") + "." if text else ""


def flow_text(value: Any) -> str:  # noqa: ANN401 - any JSON value
    """On one line, and read again as the same value.

    >>> flow_text([0.9, 1e-8, "no", "1", "a: b", None, True])
    '[0.9, 1e-8, no, "1", "a: b", null, true]'
    """
    if isinstance(value, str):
        plain = PLAIN.fullmatch(value) is not None and resolve_scalar(value) == value
        return value if plain else f'"{"".join(map(_quoted, value))}"'
    if isinstance(value, list):
        return f"[{', '.join(map(flow_text, value))}]"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {flow_text(item)}" for key, item in value.items()) + "}"
    return re.sub(r"e([+-])0", r"e\1", json.dumps(value))


def _quoted(sign: str) -> str:
    if sign in '"\\':
        return f"\\{sign}"
    return sign if sign.isprintable() else f"\\U{ord(sign):08x}"
