"""YAML text to a tree of nodes that know their line and column.

PyYAML's parser gives the events; everything above them is ours, because a job file wants YAML 1.2 (`no` is text,
`5e-5` a number, `12:30:00` text), refuses duplicate keys and tags, and must not be able to fill the memory: nodes,
levels and what aliases expand to are counted while the events stream by, before anything is built from them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from runjob.schemas.problems import JobFileError, Mark, Problem
from runjob.schemas.scalars import ScalarValue, resolve_scalar

MAX_BYTES = 1024 * 1024
MAX_NODES = 50_000
MAX_LEVELS = 64


@dataclass(frozen=True, slots=True)
class Scalar:
    """`text` as written; `value` as YAML 1.2 reads it; `plain` without quotes."""

    value: ScalarValue
    text: str
    plain: bool
    mark: Mark


@dataclass(frozen=True, slots=True)
class ListNode:
    items: tuple["Node", ...]
    mark: Mark


@dataclass(frozen=True, slots=True)
class Entry:
    """A key's own place and its value."""

    mark: Mark
    node: "Node"


@dataclass(frozen=True, slots=True)
class MapNode:
    """`partial`: made by --set where the file has nothing, so that the default fills what it leaves open."""

    entries: dict[str, Entry]
    mark: Mark
    partial: bool = False


Node = Scalar | ListNode | MapNode


@dataclass(frozen=True, slots=True)
class Document:
    """A tree and what is wrong with it as YAML; nodes at `refused` are said to be wrong already, and hold nothing."""

    node: Node
    problems: tuple[Problem, ...]
    refused: frozenset[Mark]


_UNPRINTABLE = yaml.reader.Reader.NON_PRINTABLE  # compiling such a class takes 5 ms; PyYAML has done it already


def compose_bytes(raw: bytes, file: str) -> Document:
    """The tree of a file, with the problems that leave a tree (duplicate keys, tags); JobFileError for the others."""
    if len(raw) > MAX_BYTES:
        raise _fatal(file, 1, 1, f"the file has {len(raw):,} bytes; a job file may have {MAX_BYTES:,}")
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise _fatal(file, 1, 1, "the file is UTF-16; save it as UTF-8")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = raw[: error.start]
        line, start = before.count(b"\n") + 1, before.rfind(b"\n") + 1
        column = len(before[start:].decode("utf-8")) + 1
        byte = raw[error.start]
        raise _fatal(file, line, column, f"not UTF-8 (byte 0x{byte:02x}); save the file as UTF-8") from error
    return compose_text(text, file)


def compose_text(text: str, file: str) -> Document:
    """As compose_bytes, of text already decoded."""
    control = _UNPRINTABLE.search(text)
    if control:
        line, column = _position(text, control.start())
        raise _fatal(file, line, column, f"the control character {control[0]!r} can't stand in YAML; delete it")
    composer = _Composer(text, file)
    try:
        node = composer.document()
    except yaml.MarkedYAMLError as error:
        raise _syntax_error(error, text, file) from error
    return Document(node, tuple(composer.problems), frozenset(composer.refused))


def _fatal(file: str, line: int, column: int, message: str) -> JobFileError:
    return JobFileError([Problem(file=file, line=line, column=column, path="", message=message)])


def _position(text: str, index: int) -> tuple[int, int]:
    return text.count("\n", 0, index) + 1, index - text.rfind("\n", 0, index)


# What libyaml says, and what a user would rather read
_SYNTAX_HINTS = {
    "mapping values are not allowed": "a `:` too many; a text that holds `: ` needs quotes, and keys of one level the "
    "same indentation",
    "could not find expected ':'": "a key without `:`",
    "did not find expected key": "keys of one level need the same indentation, and a text that goes on after a "
    "closing quote needs quotes around all of it; or a quote above is not closed",
    "did not find expected ',' or ']'": "a `[` is not closed, or a comma is missing",
    "did not find expected ',' or '}'": "a `{` is not closed, or a comma is missing",
    "found unexpected end of stream": "a quote is not closed",
    "did not find expected '-' indicator": "the items of a list need the same indentation",
    "block sequence entries are not allowed": "a list can't begin here; write it on the next line, or as [a, b]",
}


def _syntax_error(error: yaml.MarkedYAMLError, text: str, file: str) -> JobFileError:
    said = error.problem or "can't be read"
    mark = error.problem_mark or error.context_mark
    if "found unexpected end of stream" in said and error.context_mark:
        mark = error.context_mark  # where the quote opens says more than where the file ends
    line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
    lines = text.splitlines()
    here = lines[line - 1] if line <= len(lines) else ""
    if "\t" in here[:column] and not here[: column - 1].strip():
        return _fatal(file, line, here.index("\t") + 1, "a tab in the indentation; YAML wants spaces")
    if here[column - 1 : column] in ("@", "`", "%"):
        said = f"a text can't begin with `{here[column - 1]}`; put it in quotes"
        return _fatal(file, line, column, said)
    hint = next((hint for words, hint in _SYNTAX_HINTS.items() if words in said), said)
    return _fatal(file, line, column, f"not YAML: {hint}")


class _Composer:
    """One document's events to nodes. Recursion is safe: MAX_LEVELS bounds it."""

    def __init__(self, text: str, file: str) -> None:
        loader = yaml.CBaseLoader if yaml.__with_libyaml__ else yaml.BaseLoader
        self.events: Iterator[Any] = iter(yaml.parse(text, Loader=loader))
        self.file = file
        self.problems: list[Problem] = []
        self.refused: set[Mark] = set()
        self.nodes = 0
        # anchor -> (node, how many nodes it expands to, how many levels it has)
        self.anchors: dict[str, tuple[Node, int, int]] = {}
        self.open_anchors: set[str] = set()

    def document(self) -> Node:
        node: Node = Scalar(None, "", True, Mark(self.file, 1, 1))
        documents = 0
        for event in self.events:
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    self.stop(event, "a second document begins here; a job file holds one")
                node = self.node(next(self.events), "", 1)[0]
        return node

    def mark(self, event: Any) -> Mark:  # noqa: ANN401 - PyYAML's events have no common type that says start_mark
        return Mark(self.file, event.start_mark.line + 1, event.start_mark.column + 1)

    def stop(self, event: Any, message: str) -> None:  # noqa: ANN401
        mark = self.mark(event)
        raise _fatal(self.file, mark.line, mark.column, message)

    def node(self, event: Any, path: str, level: int) -> tuple[Node, int]:  # noqa: ANN401
        """The node that begins with this event, and how many levels it has."""
        if isinstance(event, yaml.AliasEvent):
            return self.alias(event, level)
        self.count(event, 1)
        if level > MAX_LEVELS:
            self.stop(event, f"nested deeper than {MAX_LEVELS} levels")
        if event.tag is not None:
            said = f"the tag {event.tag[:60]} is refused: a job file holds plain values; delete it"
            self.problems.append(Problem.at(self.mark(event), path, said))
            self.refused.add(self.mark(event))
        before = self.nodes - 1
        if event.anchor:
            self.open_anchors.add(event.anchor)
        node: Node
        height = 1
        if isinstance(event, yaml.ScalarEvent):
            plain = event.style is None or event.style == ""
            value = resolve_scalar(event.value) if plain else event.value
            node = Scalar(value, event.value, plain, self.mark(event))
        elif isinstance(event, yaml.SequenceStartEvent):
            node, height = self.sequence(event, path, level)
        else:
            node, height = self.mapping(event, path, level)
        if event.anchor:
            self.open_anchors.discard(event.anchor)
            self.anchors[event.anchor] = (node, self.nodes - before, height)
        return node, height

    def count(self, event: Any, nodes: int) -> None:  # noqa: ANN401
        self.nodes += nodes
        if self.nodes > MAX_NODES:
            self.stop(event, f"more than {MAX_NODES:,} values, aliases counted by what they stand for")

    def alias(self, event: Any, level: int) -> tuple[Node, int]:  # noqa: ANN401
        if event.anchor in self.open_anchors:
            self.stop(event, f"*{event.anchor} stands inside its own anchor")
        if event.anchor not in self.anchors:
            self.stop(event, f"*{event.anchor} has no anchor &{event.anchor} above it")
        node, nodes, height = self.anchors[event.anchor]
        self.count(event, nodes)
        if level + height - 1 > MAX_LEVELS:
            self.stop(event, f"nested deeper than {MAX_LEVELS} levels")
        return node, height

    def sequence(self, start: Any, path: str, level: int) -> tuple[ListNode, int]:  # noqa: ANN401
        items: list[Node] = []
        height = 0
        while not isinstance(event := next(self.events), yaml.SequenceEndEvent):
            item, below = self.node(event, f"{path}[{len(items)}]", level + 1)
            items.append(item)
            height = max(height, below)
        return ListNode(tuple(items), self.mark(start)), height + 1

    def mapping(self, start: Any, path: str, level: int) -> tuple[MapNode, int]:  # noqa: ANN401
        entries: dict[str, Entry] = {}
        height = 0
        while not isinstance(event := next(self.events), yaml.MappingEndEvent):
            key = self.node(event, path, level + 1)[0]
            name = key.text if isinstance(key, Scalar) else ""
            here = f"{path}.{name}" if path else name
            value, below = self.node(next(self.events), here, level + 1)
            height = max(height, below)
            mark = self.mark(event)
            if not isinstance(key, Scalar):
                self.problems.append(Problem.at(mark, path, "a list or a mapping can't be a key"))
            elif key.plain and name == "<<":
                said = "merge keys are not part of YAML 1.2; write the keys out"
                self.problems.append(Problem.at(mark, here, said))
                self.refused.add(self.mark(start))  # without what was merged, other keys would seem to be missing
            elif name in entries:
                first = entries[name].mark
                said = f"the key stands twice, first at {first.line}:{first.column}; delete one"
                self.problems.append(Problem.at(mark, here, said))
            else:
                entries[name] = Entry(mark, value)
        return MapNode(entries, self.mark(start)), height + 1
