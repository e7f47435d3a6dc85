"""How a mistake is said: what was expected, what stands there, and what to type instead."""

import json
import math
from collections.abc import Iterable
from typing import Any

from runjob.schemas.scalars import resolve_scalar
from runjob.schemas.schema import Schema, types_of
from runjob.schemas.yaml import ListNode, MapNode, Node, Scalar

TYPES = {
    "integer": "a whole number",
    "number": "a number",
    "string": "text",
    "boolean": "true or false",
    "array": "a list",
    "object": "keys with values",
    "null": "null",
}
FORMATS = {
    "path": "a path",
    "path-or-name": "a path or a name on the Hub",
}
_SHOWN = 60


def closest(word: str, known: Iterable[str]) -> str | None:
    """The known word that was probably meant."""
    import difflib  # 3 ms, and only a mistake needs it

    if len(word) > _SHOWN:
        return None
    by_lower = {name.lower(): name for name in known}
    found = difflib.get_close_matches(word.lower(), by_lower, n=1, cutoff=0.6)
    if found:
        return by_lower[found[0]]
    # `al` for `all`, `batch` for `batch_size`: too short a word for difflib's ratio
    begun = [name for lower, name in by_lower.items() if len(word) > 1 and lower.startswith(word.lower())]
    return begun[0] if len(begun) == 1 else None


def one_of(names: Iterable[str]) -> str:
    quoted = [f"`{name}`" for name in names]
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} or {quoted[-1]}"


def instead(meant: str | None, known: Iterable[str]) -> str:
    """`did you mean ...?`, or the list of what is known."""
    return f"did you mean `{meant}`?" if meant else f"known here: {', '.join(known)}"


def flow(value: Any) -> str:  # noqa: ANN401 - any JSON value
    """A JSON value as one would type it into a job file."""
    if isinstance(value, str):
        return value if isinstance(resolve_scalar(value), str) and ": " not in value else json.dumps(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(flow, value)) + "]"
    return json.dumps(value)


def short(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def found(node: Node) -> str:
    """What stands there, short enough for one line."""
    if isinstance(node, MapNode):
        return "keys with values"
    if isinstance(node, ListNode):
        return "a list"
    if node.value is None:
        return "nothing" if node.text == "" else "null"
    shown = short(node.text)
    kind = "the text" if isinstance(node.value, str) else "the number"
    return f"`{shown}`" if isinstance(node.value, bool) else f"{kind} `{shown}`"


def expected(schema: Schema) -> str:
    """What a (followed) schema wants, with an example where the field has one."""
    words = []
    for branch in schema.get("anyOf", [schema]):
        for name in types_of(branch):
            if "const" in branch:
                words.append(f"`{branch['const']}`")
            elif name == "string" and "pattern" in branch:
                words.append(branch["patternErrorMessage"])
            elif name == "string" and branch.get("format") in FORMATS:
                words.append(FORMATS[branch["format"]])
            elif name == "string" and "enum" in branch:
                words.append(one_of(word for word in branch["enum"] if word is not None))
            else:
                words.append(TYPES[name])
    shows = "examples" in schema and "enum" not in schema and "boolean" not in types_of(schema)
    example = f", such as `{flow(schema['examples'][0])}`" if shows else ""
    shown = words if len(words) == 1 or words[-1] != "null" else words[:-1]
    return " or ".join(dict.fromkeys(shown)) + example


def wrong_type(node: Node, schema: Schema) -> str:
    """`expected ..., not ...`, and the repair where the mistake is a known one."""
    return f"expected {expected(schema)}, not {found(node)}{_repair(node, schema)}"


def _repair(node: Node, schema: Schema) -> str:
    if not isinstance(node, Scalar):
        return ""
    types = types_of(schema)
    numeric = "integer" in types or "number" in types
    bare = resolve_scalar(node.text)
    if isinstance(node.value, str):
        if not node.plain and numeric and isinstance(bare, (int, float)) and not isinstance(bare, bool):
            return f"; write {node.text} without quotes"
        if not node.plain and "boolean" in types and isinstance(bare, bool):
            return f"; write {node.text} without quotes"
        if "boolean" in types and node.text.lower() in ("yes", "on", "y", "no", "off", "n"):
            return f"; write {'true' if node.text.lower() in ('yes', 'on', 'y') else 'false'}"
        plain_number = node.text.replace("_", "").replace(",", "")
        if numeric and plain_number != node.text and isinstance(resolve_scalar(plain_number), (int, float)):
            return f"; write {plain_number}"
        return ""
    if "string" in types and node.value is not None and "format" not in schema and "enum" not in schema:
        return f'; write "{node.text}" with quotes'
    return ""


def out_of_range(value: float, schema: Schema) -> str | None:
    """The bound that a number breaks, if any."""
    if not math.isfinite(value):
        return f"must be a finite number, not {value}"
    bounds = (
        ("minimum", "at least", value < schema.get("minimum", value)),
        ("exclusiveMinimum", "greater than", "exclusiveMinimum" in schema and value <= schema["exclusiveMinimum"]),
        ("maximum", "at most", value > schema.get("maximum", value)),
        ("exclusiveMaximum", "less than", "exclusiveMaximum" in schema and value >= schema["exclusiveMaximum"]),
    )
    shown = f"{value:.6g}" if isinstance(value, float) else short(str(value))
    for keyword, words, broken in bounds:
        if broken:
            return f"must be {words} {flow(schema[keyword])}, not {shown}"
    return None
