"""Write docs/job-file.md from the schema: every field, its default, what it means, an example. Run it after a change of
the schema; a test holds the committed file equal to what it writes."""

import json
import sys
from pathlib import Path
from typing import Any

from runjob.schemas.schema import TAGS, bundled_schema, variation_schema

TARGET = Path(__file__).parent.parent / "docs" / "job-file.md"
OPENING = """# The job file, field by field

Generated from the schema by `scripts/make_reference.py`; defaults are written there and nowhere else. Amounts carry
units: `10000 steps`, `3 epochs`, `100M tokens`, `30 min`, `never`; `k M B T` are thousand to trillion. Relative paths
are relative to the job file, on `--set` to the current directory. `runjob schema` prints the schema for editors.
"""
VARIATION = "How files vary; a job that is whole has neither. [variation.md](variation.md) explains them.\n\n"


def main() -> int:
    TARGET.write_text(reference(bundled_schema()), encoding="utf-8")
    return 0


def reference(schema: dict[str, Any]) -> str:
    """The whole page."""
    parts = [OPENING, "## The top\n\n" + table(schema, schema)]
    parts.append("## `extends` and `matrix`\n\n" + VARIATION + table({"properties": variation_schema()}, schema))
    for name, section in schema["properties"].items():
        described = resolved(section, schema)
        if is_mapping(described):
            parts += chapter(name, described, schema, level=2)
    return "\n".join(parts)


def chapter(path: str, section: dict[str, Any], root: dict[str, Any], *, level: int) -> list[str]:
    """A section, its variants, and the sections inside it."""
    parts = [f"{'#' * level} `{path}`\n\n{section['description']}\n"]
    for variant in variants(section, root):
        if has_kind(variant):
            words = {name: tag(variant, name, root) for name in TAGS if name in variant["properties"]}
            label = ", ".join(f"{name}: {word}" for name, word in words.items() if word)
            parts.append(f"**`{label}`**: {variant['description']}\n")
        parts.append(table(variant, root))
        for name, field in variant["properties"].items():
            inner = resolved(field, root)
            if is_mapping(inner) and not already(parts, f"{path}.{name}"):
                parts += chapter(f"{path}.{name}", inner, root, level=min(level + 1, 4))
    return parts


def already(parts: list[str], path: str) -> bool:
    return any(part.lstrip("#").startswith(f" `{path}`\n") for part in parts)


def table(section: dict[str, Any], root: dict[str, Any]) -> str:
    rows = ["| field | what stands there | default | meaning |", "|---|---|---|---|"]
    for name, raw in section["properties"].items():
        field = resolved(raw, root)
        if name in TAGS and "const" in field:
            continue
        required = name in section["required"] if "required" in section else False
        default = "required" if required else code(field["default"]) if "default" in field else "none"
        meaning = cell(field["description"])
        if "examples" in field and not is_mapping(field):
            meaning += f" Example: {code(field['examples'][0])}."
        rows.append(f"| `{name}` | {cell(values(field, root))} | {default} | {meaning} |")
    return "\n".join(rows) + "\n"


def values(field: dict[str, Any], root: dict[str, Any]) -> str:
    """What may stand in a field, in words."""
    if "const" in field:
        return code(field["const"])
    if "enum" in field:
        return ", ".join(code(one) for one in field["enum"])
    if is_mapping(field):
        kinds = dict.fromkeys(tag(variant, "kind", root) for variant in variants(field, root) if has_kind(variant))
        return f"a section of kind {', '.join(map(code, kinds))}" if kinds else "a section"
    if "anyOf" in field or "oneOf" in field:
        choices = field["anyOf"] if "anyOf" in field else field["oneOf"]
        return " or ".join(values(resolved(one, root), root) for one in choices)
    types = field["type"] if isinstance(field["type"], list) else [field["type"]]
    return " or ".join(text(field) if one == "string" else one for one in types) + bounds(field)


def text(field: dict[str, Any]) -> str:
    """What may stand in a field of text: the rule of its pattern, or what it names."""
    if "pattern" in field:
        return str(field["patternErrorMessage"])
    return f"string ({field['format']})" if "format" in field else "string"


def bounds(field: dict[str, Any]) -> str:
    """The numbers, or the number of entries, that a field takes; empty where any will do."""
    words = {
        "minimum": "at least {}",
        "exclusiveMinimum": "above {}",
        "maximum": "at most {}",
        "exclusiveMaximum": "below {}",
        "minItems": "{} or more entries",
        "maxItems": "{} entries at most",
    }
    said = [text.format(field[word]) for word, text in words.items() if word in field]
    return f", {', '.join(said)}" if said else ""


def variants(section: dict[str, Any], root: dict[str, Any]) -> list[dict[str, Any]]:
    for word in ("oneOf", "anyOf"):
        if word in section:
            every = [resolved(one, root) for one in section[word]]
            return [one for one in every if "properties" in one]
    return [section]


def tag(variant: dict[str, Any], name: str, root: dict[str, Any]) -> str:
    """The one word that may stand in this field of a variant."""
    field = resolved(variant["properties"][name], root)
    return str(field["const"]) if "const" in field else ""


def has_kind(variant: dict[str, Any]) -> bool:
    return "kind" in variant["properties"]


def is_mapping(field: dict[str, Any]) -> bool:
    if "properties" in field:
        return True
    return any(
        "properties" in one or "$ref" in one for word in ("oneOf", "anyOf") if word in field for one in field[word]
    )


def resolved(field: dict[str, Any], root: dict[str, Any]) -> dict[str, Any]:
    """A field with its `$ref` followed; what stands beside the reference wins."""
    if "$ref" not in field:
        return field
    found: Any = root
    for step in field["$ref"].removeprefix("#/").split("/"):
        found = found[step]
    beside = {key: value for key, value in field.items() if key != "$ref"}
    return {**resolved(found, root), **beside}


def code(value: object) -> str:
    return f"`{value if isinstance(value, str) else json.dumps(value)}`"


def cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    sys.exit(main())
