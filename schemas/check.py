"""A tree of nodes against the schema: values with every default filled in, and every problem, in one walk.

The schema files are plain JSON Schema 2020-12 and any validator may read them. This walk reads the part of the
language that they use (a test refuses other keywords, another holds the verdicts equal to the jsonschema package's),
because a general validator can say that a value fits none of five variants, but not which one its author meant: here
`kind` chooses the variant, and one mistake is one line.
"""

import os
import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from runjob.schemas import wording
from runjob.schemas.problems import DEFAULT, WRONG, Mark, Problem
from runjob.schemas.reserved import CALLED, ELSEWHERE, NEVER
from runjob.schemas.schema import TAGS, Schema, bundled_schema, follow, homes_of, tags_of, types_of, variants
from runjob.schemas.yaml import Entry, ListNode, MapNode, Node, Scalar

# difflib takes 0.1 ms a word; after so many mistakes of one file a reader has other worries than the next suggestion
MAX_SUGGESTIONS = 200
# Of a key that stands in more places of a job than that none is proposed
MAX_HOMES = 3
# What file systems take (NAME_MAX); a longer one is an error where it is only looked for
LONGEST_NAME = 255


class Checker:
    """Walks one tree. Afterwards: `problems`, `marks` of every path, `origins` of every leaf. Paths are relative to
    `directory`; in `others`, files whose values stand in the tree too, to that of their own."""

    def __init__(self, directory: Path, refused: Collection[Mark], *, others: Mapping[str, Path]) -> None:
        self.directory = directory
        self.others = others
        self.refused = refused
        self.problems: list[Problem] = []
        self.marks: dict[str, Mark] = {}
        self.origins: dict[str, str] = {}
        self.suggestions = 0

    def job(self, node: Node) -> Any:  # noqa: ANN401 - a JSON object, with WRONG in it where there are problems
        return self.value(node, bundled_schema(), "", node.mark)

    def problem(self, mark: Mark, path: str, message: str) -> Any:  # noqa: ANN401
        self.problems.append(Problem.at(mark, path, message))
        return WRONG

    def meant(self, word: str, known: Iterable[str]) -> str | None:
        """The known word that was probably meant."""
        self.suggestions += 1
        return wording.closest(word, known) if self.suggestions <= MAX_SUGGESTIONS else None

    def value(self, node: Node, field: Schema, path: str, key_mark: Mark) -> Any:  # noqa: ANN401 - any JSON value
        """The plain value of a node, or WRONG with the problem noted."""
        if node.mark in self.refused:
            return WRONG
        schema = follow(field)
        node = _typed_by_schema(node, types_of(schema))
        self.marks[path] = key_mark if isinstance(node, MapNode) else node.mark
        if isinstance(node, MapNode) and node.partial:
            node = _completed(node, schema.get("default"))
        if not _fits(node, types_of(schema)):
            return self.problem(node.mark, path, wording.wrong_type(node, schema))
        if "oneOf" in schema and isinstance(node, MapNode):
            return self.variant(node, schema, path, key_mark)
        if "anyOf" in schema:
            return self.choice(node, schema, path, key_mark)
        if isinstance(node, MapNode):
            return self.mapping(node, schema, path, key_mark)
        if isinstance(node, ListNode):
            return self.list(node, schema, path)
        self.origins[path] = str(node.mark)
        return self.scalar(node, schema, path)

    def variant(self, node: MapNode, schema: Schema, path: str, key_mark: Mark) -> Any:  # noqa: ANN401
        """`kind` alone chooses the branch, and where several have that kind `architecture` or `algorithm`."""
        kinds = variants(schema)
        left, was_set = list(kinds.values()), False
        for tag in TAGS:
            known = list(dict.fromkeys(tags_of(branch)[tag] for branch in left if tag in tags_of(branch)))
            if not known:
                continue
            here = f"{path}.{tag}"
            if tag not in node.entries:
                which = wording.one_of(known)
                return self.problem(key_mark, here, f"missing; write `{tag}: {known[0]}` (known: {which})")
            written = node.entries[tag].node
            if not isinstance(written, Scalar) or written.text not in known:
                self.marks[here] = written.mark
                return self.wrong_word(written, here, known, f"unknown {tag}")
            left = [branch for branch in left if tags_of(branch)[tag] == written.text]
            was_set = was_set or written.mark.is_set
        if was_set:
            node = _without_keys_of_other_kinds(node, left[0], kinds)
        return self.mapping(node, {"examples": schema.get("examples", []), **left[0]}, path, key_mark)

    def wrong_word(self, node: Node, path: str, known: list[str], said: str) -> Any:  # noqa: ANN401
        if not isinstance(node, Scalar) or not node.text:
            return self.problem(node.mark, path, f"expected {wording.one_of(known)}, not {wording.found(node)}")
        called = [word for word in known if node.text.lower() in CALLED and CALLED[node.text.lower()] == word]
        meant = called[0] if called else self.meant(node.text, known)
        said = f"{said} `{wording.short(node.text)}`; {wording.instead(meant, known)}"
        return self.problem(node.mark, path, said)

    def choice(self, node: Node, schema: Schema, path: str, key_mark: Mark) -> Any:  # noqa: ANN401
        """The first branch of an `anyOf` whose type fits (no two of ours admit the same type but words)."""
        fitting = [branch for branch in map(follow, schema["anyOf"]) if _fits(node, types_of(branch))]
        words = [branch["const"] for branch in schema["anyOf"] if "const" in branch]
        if isinstance(node, Scalar) and isinstance(node.value, str) and words and node.value not in words:
            meant = self.meant(node.text, words)
            hint = f"; did you mean `{meant}`?" if meant else ""
            return self.problem(
                node.mark, path, f"expected {wording.expected(schema)}, not {wording.found(node)}{hint}"
            )
        if any(branch.get("format") == "length" for branch in schema["anyOf"]) and isinstance(node, Scalar):
            amount = node.value if isinstance(node.value, int | float) else 0
            if amount >= 1 and (broken := wording.out_of_range(amount, fitting[0])) is not None:
                said = f"{broken}; a number is a share of the run, and an amount has a unit: `{node.text} steps`"
                return self.problem(node.mark, path, said)
        return self.value(node, {"examples": schema["examples"], **fitting[0]}, path, key_mark)

    def mapping(self, node: MapNode, schema: Schema, path: str, key_mark: Mark) -> Any:  # noqa: ANN401
        fields: Schema = schema.get("properties", {})
        free = schema.get("additionalProperties", True)
        values: dict[str, Any] = {}
        misspelt: set[str | None] = set()
        for key, entry in node.entries.items():
            here = f"{path}.{key}" if path else key
            if key in fields:
                values[key] = self.value(entry.node, fields[key], here, entry.mark)
            elif free:
                values[key] = self.value(entry.node, free if isinstance(free, dict) else {}, here, entry.mark)
            else:
                misspelt.add(self.unknown_key(key, entry.mark, path, fields))
        for key, field in fields.items():
            here = f"{path}.{key}" if path else key
            if key in values:
                continue
            whole = follow(field)
            if "default" in whole:
                values[key] = self.value(plain_node(whole["default"], DEFAULT), field, here, DEFAULT)
            elif key in schema.get("required", ()) and key not in misspelt:
                # where a misspelt key was meant to be this one, the one line about it is enough
                self.problem(key_mark, here, f"missing; {_write(key, whole)}")
        if not node.entries and free:
            self.origins[path] = str(key_mark)
        in_order = [key for key in fields if key in values] + [key for key in values if key not in fields]
        return {key: values[key] for key in in_order}

    def unknown_key(self, key: str, mark: Mark, path: str, fields: Schema) -> str | None:
        """Note the problem; the field of this mapping that was probably meant."""
        here = f"{path}.{key}" if path else key
        if key in NEVER:
            self.problem(mark, here, NEVER[key])
            return None
        if key in ELSEWHERE:
            self.problem(mark, here, f"unknown key; here it is `{ELSEWHERE[key]}`")
            section, _, name = ELSEWHERE[key].rpartition(".")
            return name if section == path else None
        meant = self.meant(key, fields)
        *_, (tag, word) = [("", ""), *tags_of({"properties": fields}).items()]
        where = f" for the {tag} `{word}`" if tag else ""
        homes = homes_of(key) if meant is None else ()
        if homes and here not in homes and len(homes) <= MAX_HOMES:
            self.problem(mark, here, f"unknown key{where}; it stands in {wording.one_of(homes)}")
        else:
            self.problem(mark, here, f"unknown key{where}; {wording.instead(meant, fields)}")
        return meant

    def list(self, node: ListNode, schema: Schema, path: str) -> Any:  # noqa: ANN401
        self.origins[path] = str(node.mark)
        low, high = schema.get("minItems", 0), schema.get("maxItems", len(node.items))
        if not low <= len(node.items) <= high:
            count = f"{low}" if low == schema.get("maxItems") else f"at least {low}"
            example = f", such as `{wording.flow(schema['examples'][0])}`" if "examples" in schema else ""
            return self.problem(node.mark, path, f"expected a list of {count}{example}, not of {len(node.items)}")
        items = schema.get("items", {})
        origins, self.origins = self.origins, {}  # a list is one leaf
        values = [self.value(item, items, f"{path}[{i}]", item.mark) for i, item in enumerate(node.items)]
        self.origins = origins
        return values

    def scalar(self, node: Scalar, schema: Schema, path: str) -> Any:  # noqa: ANN401
        value = node.value
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, str):
            return self.text(node, value, schema, path)
        if isinstance(value, float) and "integer" in types_of(schema) and value.is_integer():
            value = int(value)
        if broken := wording.out_of_range(value, schema):
            return self.problem(node.mark, path, broken)
        if "enum" in schema and value not in schema["enum"]:
            return self.problem(node.mark, path, f"must be {wording.one_of(map(str, schema['enum']))}, not {value}")
        if "const" in schema and value != schema["const"]:
            return self.problem(node.mark, path, f"must be {schema['const']}, not {value}")
        return float(value) if "number" in types_of(schema) else value

    def text(self, node: Scalar, value: str, schema: Schema, path: str) -> Any:  # noqa: ANN401
        known = schema.get("enum", [schema["const"]] if "const" in schema else None)
        if known is not None and value not in known:
            return self.wrong_word(node, path, [word for word in known if word is not None], "unknown value")
        if len(value) < schema.get("minLength", 0):
            return self.problem(node.mark, path, f"expected {wording.expected(schema)}, not an empty text")
        if "maxLength" in schema and len(value) > schema["maxLength"]:
            said = f"has {len(value)} characters; {schema['maxLength']} are the most"
            return self.problem(node.mark, path, said)
        if "\0" in value:
            return self.problem(node.mark, path, "holds the character NUL, which no path and no text may hold")
        # \Z: with `$`, a text that ends in a line break would pass here and fail where it is parsed
        if "pattern" in schema and not re.search(schema["pattern"].removesuffix("$") + r"\Z", value):
            return self.problem(node.mark, path, f"expected {wording.expected(schema)}, not {wording.found(node)}")
        if schema.get("format") in ("path", "path-or-name"):
            longest = max(len(part.encode("utf-8", "surrogatepass")) for part in value.split("/"))
            if schema["format"] == "path" and longest > LONGEST_NAME and "://" not in value:
                said = f"has a name of {longest} bytes in it; {LONGEST_NAME} are the most that a file can have"
                return self.problem(node.mark, path, said)
            return self.located(value, node.mark, named=schema["format"] == "path-or-name")
        return value

    def located(self, text: str, mark: Mark, *, named: bool) -> str:
        """A path made absolute: from the directory of the file that says it, on --set from the current one. Names stay
        names."""
        if text.startswith("sample:") or "://" in text:
            return text
        there = self.others.get(mark.file, self.directory)
        base = Path.cwd() if mark.is_set else there
        path = Path(text).expanduser() if text.startswith("~/") else base / text
        if (
            named
            and not text.startswith(("./", "../", "/", "~/"))
            and text not in (".", "..")
            and not _is_directory(path)
        ):
            return text
        return os.path.normpath(path)


def _fits(node: Node, types: tuple[str, ...]) -> bool:
    if not types:
        return True
    if isinstance(node, MapNode):
        return "object" in types
    if isinstance(node, ListNode):
        return "array" in types
    value = node.value
    if value is None:
        return "null" in types
    if isinstance(value, bool):
        return "boolean" in types
    if isinstance(value, str):
        return "string" in types
    return "number" in types or ("integer" in types and (isinstance(value, int) or value.is_integer()))


def _typed_by_schema(node: Node, types: tuple[str, ...]) -> Node:
    """`--set output.license=1.0` means text: on a command line quotes are the shell's, so the schema decides."""
    if isinstance(node, Scalar) and node.plain and node.mark.is_set and "string" in types and not _fits(node, types):
        return Scalar(node.text, node.text, True, node.mark)
    return node


def _without_keys_of_other_kinds(node: MapNode, chosen: Schema, kinds: dict[str, Schema]) -> MapNode:
    """After --set has changed a kind, the keys that only the file's old kind had are gone with it."""
    old = {key for branch in kinds.values() for key in branch["properties"]} - set(chosen["properties"])
    return MapNode({key: e for key, e in node.entries.items() if key not in old or e.node.mark.is_set}, node.mark)


def _completed(node: MapNode, default: Any) -> MapNode:  # noqa: ANN401 - any JSON value
    """What --set wrote into an omitted section, with the section's default (its `kind`, say) beside it."""
    whole = plain_node(default, DEFAULT)
    return MapNode({**whole.entries, **node.entries}, node.mark) if isinstance(whole, MapNode) else node


def _is_directory(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # a name too long for a file, or a place where we may not look
        return False


def plain_node(value: Any, mark: Mark) -> Node:  # noqa: ANN401 - any JSON value
    """A tree for a plain value, all of it written at one place."""
    if isinstance(value, dict):
        return MapNode({key: Entry(mark, plain_node(item, mark)) for key, item in value.items()}, mark)
    if isinstance(value, list):
        return ListNode(tuple(plain_node(item, mark) for item in value), mark)
    return Scalar(value, wording.flow(value) if not isinstance(value, str) else value, False, mark)


def _write(key: str, schema: Schema) -> str:
    example = schema["examples"][0] if "examples" in schema else schema.get("const")
    return f"write for example `{key}: {wording.flow(example)}`"
