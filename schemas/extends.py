"""`extends: base.yaml`: a job file laid over others, before the schema sees any of it.

Mappings merge key by key, everything else replaces; a mapping that says another `kind` is another thing and replaces
too. Every node keeps the mark of the file it stands in, so messages, origins and relative paths follow by themselves.
What is wrong with a base is said where it is named, or at its own line, and ends the reading: of half a job nothing
true could be said.
"""

import os
from dataclasses import dataclass, field
from pathlib import Path

from runjob.schemas import wording
from runjob.schemas.check import Checker
from runjob.schemas.job_json import Base
from runjob.schemas.problems import JobFileError, Mark, Problem
from runjob.schemas.schema import TAGS, variation_schema
from runjob.schemas.yaml import MAX_BYTES, Document, Entry, MapNode, Node, Scalar, compose_bytes

# More than anybody keeps in their head; the second bounds what a file that names itself in many ways may read
MAX_LEVELS = 8
MAX_FILES = 32


@dataclass(frozen=True, kw_only=True)
class Layers:
    """A job file and its bases as one tree; `bases` in the order in which they were first named."""

    document: Document
    bases: tuple[Base, ...]


def lay_over_bases(document: Document, path: Path) -> Layers:
    """The tree of the file at `path` over those that it extends, without the word; JobFileError where one is not to be
    had."""
    reader = _Reader()
    tree = reader.over_bases(document.node, path, above=())
    if reader.problems:
        raise JobFileError([*document.problems, *reader.problems])
    return Layers(document=Document(tree, document.problems, document.refused), bases=tuple(reader.bases.values()))


@dataclass(kw_only=True)
class _Reader:
    """Reads bases, each once. Afterwards: `problems`, and the `bases` by their path."""

    problems: list[Problem] = field(default_factory=list)
    bases: dict[Path, Base] = field(default_factory=dict)
    trees: dict[Path, Node] = field(default_factory=dict)

    def over_bases(self, node: Node, path: Path, above: tuple[Path, ...]) -> Node:
        """`above` leads from the job's own file to the one that names this one."""
        if not isinstance(node, MapNode) or "extends" not in node.entries:
            return node
        way = (*above, path)
        tree: Node | None = None
        for name, mark in self.named(node.entries["extends"]):
            text = os.path.expanduser(name) if name.startswith("~/") else name  # noqa: PTH111 - ~name has no Path
            base = self.base(Path(os.path.normpath(path.parent / text)), mark, way)
            if base is not None:
                tree = base if tree is None else merged(tree, base)
        own = MapNode({key: entry for key, entry in node.entries.items() if key != "extends"}, node.mark)
        return own if tree is None else merged(tree, own)

    def named(self, entry: Entry) -> list[tuple[str, Mark]]:
        checker = Checker(Path(), (), others={})
        value = checker.value(entry.node, variation_schema()["extends"], "extends", entry.mark)
        self.problems += checker.problems
        if checker.problems:
            return []
        if isinstance(value, str):
            return [(value, entry.node.mark)]
        return [(name, checker.marks[f"extends[{i}]"]) for i, name in enumerate(value)]

    def base(self, path: Path, mark: Mark, way: tuple[Path, ...]) -> Node | None:
        """The tree of a base over its own; None with the problem noted."""
        if path in self.trees:
            return self.trees[path]
        try:
            turn = next((place for place, one in enumerate(way) if _same(path, one)), None)
            if turn is not None:
                circle = " -> ".join(map(str, [*way[turn:], path]))
                raise _wrong(mark, f"the files extend each other in a circle: {circle}")
            if len(way) > MAX_LEVELS:
                raise _wrong(mark, f"{path} is more than {MAX_LEVELS} levels below the job's own file")
            tree = self.over_bases(self.read(path, mark), path, way)
        except OSError as error:
            self.problems += _wrong(mark, f"{path}: can't be read: {error.strerror}").problems
            return None
        except JobFileError as error:
            self.problems += [one for one in error.problems if one not in self.problems]
            return None
        self.trees[path] = tree
        return tree

    def read(self, path: Path, mark: Mark) -> Node:
        if len(self.bases) == MAX_FILES:
            raise _wrong(mark, f"more than {MAX_FILES} files that extend each other")
        try:
            if path.exists() and not path.is_file():
                raise _wrong(mark, f"{path}: is no file")
            with path.open("rb") as file:
                self.bases[path] = Base(path=path, content=file.read(MAX_BYTES + 1))
        except OSError as error:
            said = f"{path}: can't be read: {error.strerror}; such a path is relative to the file that says it"
            raise _wrong(mark, said) from error
        document = compose_bytes(self.bases[path].content, str(path))
        if document.problems:
            raise JobFileError(document.problems)
        if not isinstance(document.node, MapNode):
            raise _wrong(
                document.node.mark, f"expected a job file or a part of one, not {wording.found(document.node)}"
            )
        return document.node


def _wrong(mark: Mark, message: str) -> JobFileError:
    return JobFileError([Problem.at(mark, "extends", message)])


def merged(below: Node, above: Node) -> Node:
    """`above` over `below`; neither is changed, since trees share nodes."""
    if not (isinstance(below, MapNode) and isinstance(above, MapNode)) or _another_kind(below, above):
        return above
    entries = dict(below.entries)
    for key, entry in above.entries.items():
        under = entries.get(key)
        entries[key] = entry if under is None else Entry(entry.mark, merged(under.node, entry.node))
    return MapNode(entries, above.mark)


def _another_kind(below: MapNode, above: MapNode) -> bool:
    """Do both name a kind, and not the same?"""
    both = [tag for tag in TAGS if tag in below.entries and tag in above.entries]
    pairs = [(below.entries[tag].node, above.entries[tag].node) for tag in both]
    return any(isinstance(a, Scalar) and isinstance(b, Scalar) and a.text != b.text for a, b in pairs)


def _same(path: Path, other: Path) -> bool:
    """By whatever links or names it is reached."""
    return path == other or (path.exists() and other.exists() and path.samefile(other))
