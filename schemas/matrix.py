"""`matrix`: lists become combinations of values, each put where its path says, before the schema sees any.

    matrix:
      training.learning_rate: [1e-3, 3e-4]        crossed with all others
      zip:                                        side by side, crossed with the others as one
        model.init.hidden_size: [64, 128]
        model.init.num_attention_heads: [2, 4]
      exclude: [{training.learning_rate: 1e-3, model.init.hidden_size: 128}]

What may stand at a path is not said here: the value gets into the tree as if it had been written there.
"""

import itertools
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runjob.schemas.check import Checker
from runjob.schemas.overrides import graft
from runjob.schemas.problems import JobFileError, Mark, Problem, with_dots
from runjob.schemas.schema import variation_schema
from runjob.schemas.yaml import Entry, ListNode, MapNode, Node, Scalar

MAX_CELLS = 1000
EXAMPLE = "matrix: {seed: [1, 2, 3]}"
# Words of the matrix's own, and fields that make no variation of a job
SIDE_BY_SIDE, LEFT_OUT = "zip", "exclude"
FIXED = {
    "name": "cells are told apart by their number, which is added to the name",
    "schema": "all cells are of one version",
    "extends": "files are laid over each other first",
    "matrix": "a matrix holds none",
}


@dataclass(frozen=True, kw_only=True)
class Combination:
    """One cell: path -> the node that it has there."""

    nodes: dict[str, Node]
    keys: dict[str, Mark]

    def in_tree(self, tree: Node) -> Node:
        for path, node in self.nodes.items():
            tree = graft(tree, with_dots(path).split("."), node, self.keys[path], above=[])
        return tree

    def values(self) -> dict[str, Any]:
        return {path: plain(node) for path, node in self.nodes.items()}


def take_matrix(tree: Node) -> tuple[Node, Entry | None]:
    """The tree without its matrix, and that; None where there is none, or null."""
    if not isinstance(tree, MapNode) or "matrix" not in tree.entries:
        return tree, None
    entry = tree.entries["matrix"]
    rest = {key: one for key, one in tree.entries.items() if key != "matrix"}
    none = isinstance(entry.node, Scalar) and entry.node.value is None
    return MapNode(rest, tree.mark, tree.partial), None if none else entry


def combine(entry: Entry) -> list[Combination]:
    """Every combination that is not left out, the last path turning fastest; JobFileError with all that is wrong."""
    checker = Checker(Path(), (), others={})
    checker.value(entry.node, variation_schema()["matrix"], "matrix", entry.mark)
    if checker.problems or not isinstance(entry.node, MapNode):
        raise JobFileError(checker.problems)
    written = {key: one for key, one in entry.node.entries.items() if key not in (SIDE_BY_SIDE, LEFT_OUT)}
    beside = _entries(entry.node.entries[SIDE_BY_SIDE].node) if SIDE_BY_SIDE in entry.node.entries else {}
    if problems := [*_misplaced(written, beside, entry.mark), *_uneven(beside)]:
        raise JobFileError(problems)
    axes = [_axis({path: one}) for path, one in written.items()] + ([_axis(beside)] if beside else [])
    count = math.prod(len(axis) for axis in axes)
    if count > MAX_CELLS:
        raise _wrong(entry.mark, "", f"{count:,} cells; {MAX_CELLS:,} are the most")
    keys = {path: one.mark for path, one in {**written, **beside}.items()}
    every = [
        Combination(nodes={path: node for point in points for path, node in point.items()}, keys=keys)
        for points in itertools.product(*axes)
    ]
    return _without(every, entry)


def plain(node: Node) -> Any:  # noqa: ANN401 - any JSON value
    """What a node says, by itself: a schema may read it as something else (`1` as `1.0`)."""
    if isinstance(node, MapNode):
        return {key: plain(entry.node) for key, entry in node.entries.items()}
    return node.value if isinstance(node, Scalar) else [plain(item) for item in node.items]


def _entries(node: Node) -> dict[str, Entry]:
    return node.entries if isinstance(node, MapNode) else {}


def _items(node: Node) -> tuple[Node, ...]:
    return node.items if isinstance(node, ListNode) else ()


def _axis(together: dict[str, Entry]) -> list[dict[str, Node]]:
    """One mapping of path to value for each point of the axis."""
    return [
        dict(zip(together, point, strict=True))
        for point in zip(*(_items(one.node) for one in together.values()), strict=True)
    ]


def _misplaced(crossed: dict[str, Entry], beside: dict[str, Entry], mark: Mark) -> list[Problem]:
    """Paths that can't vary, or that stand in each other's way."""
    found = [] if crossed or beside else [_problem(mark, "", f"nothing varies; write for example `{EXAMPLE}`")]
    seen: dict[str, str] = {}
    for path, entry in (*crossed.items(), *beside.items()):
        dotted = with_dots(path)
        if dotted in FIXED:
            found.append(_problem(entry.mark, path, f"can't vary: {FIXED[dotted]}"))
        elif not all(dotted.split(".")):
            found.append(_problem(entry.mark, path, "expected a path such as `training.learning_rate`"))
        other = next((one for one in seen if _overlap(one, dotted)), None)
        if other is not None:
            found.append(_problem(entry.mark, path, f"varies already, by `{seen[other]}`"))
        seen.setdefault(dotted, path)
    return found


def _overlap(one: str, other: str) -> bool:
    """Is one of the two paths at, above or below the other?"""
    return f"{one}.".startswith(f"{other}.") or f"{other}.".startswith(f"{one}.")


def _uneven(beside: dict[str, Entry]) -> list[Problem]:
    lengths = {path: len(_items(entry.node)) for path, entry in beside.items()}
    if not lengths:
        return []
    first, length = next(iter(lengths.items()))
    said = "{} values, and `{}` beside it has {}: what goes side by side is of one length"
    return [
        _problem(beside[path].node.mark, f"{SIDE_BY_SIDE}.{path}", said.format(own, first, length))
        for path, own in lengths.items()
        if own != length
    ]


def _without(every: list[Combination], entry: Entry) -> list[Combination]:
    """Those that no `exclude` names."""
    left_out = _entries(entry.node)[LEFT_OUT].node if LEFT_OUT in _entries(entry.node) else ListNode((), entry.mark)
    problems, gone = [], set[int]()
    for number, item in enumerate(_items(left_out)):
        where = f"{LEFT_OUT}[{number}]"
        wanted = {path: one for path, one in _entries(item).items()}
        if unknown := [(path, one) for path, one in wanted.items() if path not in every[0].keys]:
            problems += [_problem(one.mark, f"{where}.{path}", "does not vary here") for path, one in unknown]
            continue
        here = {i for i, one in enumerate(every) if all(_same(one.nodes[path], wanted[path].node) for path in wanted)}
        if not wanted or not here:
            problems.append(_problem(item.mark, where, "is no cell's; it names values of the lists above"))
        gone |= here
    if not problems and len(gone) == len(every):
        problems.append(_problem(left_out.mark, LEFT_OUT, "leaves out every cell"))
    if problems:
        raise JobFileError(problems)
    return [one for i, one in enumerate(every) if i not in gone]


def _same(node: Node, other: Node) -> bool:
    return json.dumps(plain(node), sort_keys=True) == json.dumps(plain(other), sort_keys=True)


def _problem(mark: Mark, path: str, message: str) -> Problem:
    return Problem.at(mark, f"matrix.{path}".rstrip("."), message)


def _wrong(mark: Mark, path: str, message: str) -> JobFileError:
    return JobFileError([_problem(mark, path, message)])
