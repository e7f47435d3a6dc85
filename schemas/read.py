"""A job file to one typed Job, or to every problem it has.

    file --yaml.py--> tree --extends.py--> tree over those of its bases --overrides.py--> tree with --set
      --site.py--> with the site file's blocks under its own
      --check.py--> values, defaults filled in
                      |--rules.py--> what a schema can't say
                      '--build.py--> Job, when asked for

job.json in the run directory holds the values with each one's origin: job_json.py, which needs none of this.
"""

import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runjob.schemas import wording
from runjob.schemas.check import Checker, plain_node
from runjob.schemas.extends import lay_over_bases
from runjob.schemas.job_json import Base, Resolved, read_job_json, write_job_json
from runjob.schemas.matrix import Combination, combine, take_matrix
from runjob.schemas.overrides import apply_sets
from runjob.schemas.problems import MATRIX, JobFileError, Mark, Problem, one_line, with_dots
from runjob.schemas.rules import find_broken_rules
from runjob.schemas.site import Site, block_schema, lay_under, read_site
from runjob.schemas.yaml import MAX_BYTES, Document, Entry, MapNode, Node, Scalar, compose_bytes

__all__ = [
    "JobFileError",
    "Problem",
    "Resolved",
    "mark_of",
    "override_job",
    "read_job",
    "read_job_json",
    "write_job_json",
]

# Of many cells that have the same problem so many are named
SHOWN_CELLS = 5


def read_job(path: Path, sets: Sequence[str] = ()) -> Resolved:
    """The job of a file with its --set values; JobFileError holds every problem at once."""
    cells = read_cells(path, sets)
    if cells[0].number:
        said = f"{len(cells)} jobs, and one is wanted here: --set matrix=null, and what varied by further --set values"
        raise JobFileError([Problem.at(cells[0].mark, "matrix", said)])
    return cells[0].resolved


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One job of a file. Where the file has no matrix: the only one, number 0, and nothing varies. `mark`: where that
    stands."""

    number: int
    varied: dict[str, Any]
    resolved: Resolved
    mark: Mark


def read_cells(path: Path, sets: Sequence[str] = ()) -> tuple[Cell, ...]:
    """Every job of a file with these --set values, numbered from 1 in the order of its matrix. JobFileError holds every
    problem of them all, each once, with the cells that have it."""
    document = compose_bytes(_read_bytes(path), str(path))
    if isinstance(document.node, Scalar) and document.node.value is None and not document.problems:
        said = "the file is empty; a job begins with `schema: 1`"
        raise JobFileError([Problem.at(Mark(str(path), 1, 1), "", said)])
    layers = lay_over_bases(document, path)
    of_matrix = [one for one in sets if re.match(r"matrix[.=]", one)]
    tree, unread = apply_sets(layers.document.node, of_matrix)
    if unread:
        raise JobFileError(unread)
    tree, entry = take_matrix(tree)
    whole = dataclasses.replace(layers.document, node=tree)
    others = [one for one in sets if one not in of_matrix]
    directory = path.absolute().parent
    if entry is None:
        return (Cell(number=0, varied={}, resolved=_resolve(whole, others, directory, layers.bases), mark=tree.mark),)
    return _cells(whole, entry, others, directory, layers.bases)


def _cells(
    document: Document, entry: Entry, sets: Sequence[str], directory: Path, bases: tuple[Base, ...]
) -> tuple[Cell, ...]:
    combinations = combine(entry)
    cells, found = [], dict[Problem, list[int]]()
    for number, one in enumerate(combinations, start=1):
        try:
            tree = _numbered(one.in_tree(document.node), number, len(combinations))
            resolved = _resolve(dataclasses.replace(document, node=tree), sets, directory, bases)
            origins = {path: _of_matrix(path, origin, one) for path, origin in resolved.origins.items()}
            resolved = dataclasses.replace(resolved, origins=origins)
            cells.append(Cell(number=number, varied=one.values(), resolved=resolved, mark=entry.mark))
        except JobFileError as error:
            for problem in error.problems:
                found.setdefault(problem, []).append(number)
    problems = [_of_cells(problem, numbers, combinations) for problem, numbers in found.items()]
    if not problems:
        problems = _twins(cells, entry.mark)
    if problems:
        raise JobFileError(_in_order(problems, document.node.mark.file, bases))
    return tuple(cells)


def _numbered(tree: Node, number: int, count: int) -> Node:
    """The tree with the cell's number after its name: `sweep_03`. A name that is none is left for the schema to
    judge."""
    if not isinstance(tree, MapNode) or "name" not in tree.entries:
        return tree
    entry = tree.entries["name"]
    if not isinstance(entry.node, Scalar) or not isinstance(entry.node.value, str):
        return tree
    name = f"{entry.node.value}_{number:0{len(str(count))}}"
    node = Scalar(name, name, entry.node.plain, entry.node.mark)
    return MapNode({**tree.entries, "name": Entry(entry.mark, node)}, tree.mark, tree.partial)


def _of_matrix(path: str, origin: str, cell: Combination) -> str:
    """`matrix: job.yaml:7:20` for what the matrix says, unless a --set has taken its place."""
    said = any(f"{path}.".startswith(f"{with_dots(one)}.") for one in cell.nodes)
    return f"{MATRIX}{origin}" if said and mark_of(origin).line else origin


def _of_cells(problem: Problem, numbers: Sequence[int], cells: Sequence[Combination]) -> Problem:
    """The problem with the cells that have it, where not all of them do."""
    if len(numbers) == len(cells):
        return problem
    if len(numbers) == 1:
        varied = ", ".join(f"{path}={wording.flow(value)}" for path, value in cells[numbers[0] - 1].values().items())
        return dataclasses.replace(problem, message=f"{problem.message} (cell {numbers[0]}: {one_line(varied)})")
    more = f" and {len(numbers) - SHOWN_CELLS} more" if len(numbers) > SHOWN_CELLS else ""
    shown = ", ".join(map(str, numbers[:SHOWN_CELLS]))
    return dataclasses.replace(problem, message=f"{problem.message} (cells {shown}{more})")


def _twins(cells: Sequence[Cell], mark: Mark) -> list[Problem]:
    """Two cells that are one job would be trained twice for nothing."""
    first: dict[str, int] = {}
    found = []
    for cell in cells:
        text = json.dumps({**cell.resolved.values, "name": ""}, sort_keys=True)
        if text in first:
            found.append(Problem.at(mark, "matrix", f"cells {first[text]} and {cell.number} are the same job"))
        first.setdefault(text, cell.number)
    return found


def override_job(resolved: Resolved, sets: Sequence[str]) -> Resolved:
    """A job that was read before (job.json) with further --set values, as `resume --set` wants it."""
    tree = _tree_of(resolved.values, resolved.origins, "")
    changed = _resolve(Document(tree, (), frozenset()), sets, Path.cwd(), ())
    # a mark knows no matrix: what comes from the same place as before is said as before
    kept = {path: old for path, old in resolved.origins.items() if old.startswith(MATRIX)}
    said = {path: old for path, old in kept.items() if changed.origins.get(path) == old.removeprefix(MATRIX)}
    return dataclasses.replace(changed, origins={**changed.origins, **said})


def _read_bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except OSError as error:
        said = f"can't be read: {error.strerror}"
        raise JobFileError([Problem(file=str(path), line=0, column=0, path="", message=said)]) from error


def _resolve(document: Document, sets: Sequence[str], directory: Path, bases: tuple[Base, ...]) -> Resolved:
    tree, unread = apply_sets(document.node, sets)
    site = read_site()
    tree, left_out = lay_under(tree, site)
    folders = {str(one.path): one.path.absolute().parent for one in bases}
    if site.file:
        folders[site.file] = Path(site.file).parent
    checker = Checker(directory, document.refused | site.refused, others=folders)
    values = checker.job(tree)
    found = [*document.problems, *unread, *checker.problems, *site.problems, *_problems_of(left_out, site)]
    if isinstance(values, dict):
        found += find_broken_rules(values, checker.marks)
    if found:
        raise JobFileError(_in_order(found, document.node.mark.file, bases))
    plain = json.loads(json.dumps(values))
    return Resolved(values=plain, origins=checker.origins, bases=bases)


def _in_order(found: Sequence[Problem], file: str, bases: tuple[Base, ...]) -> list[Problem]:
    """In the order of the file, then of its bases, then of the arguments."""
    files = [file, *(str(base.path) for base in bases)]
    place = {name: number for number, name in enumerate(files)}
    return sorted(
        found,
        key=lambda problem: (
            place[problem.file] if problem.file in place else len(place),
            problem.line,
            problem.column,
        ),
    )


def _problems_of(left_out: Mapping[str, MapNode], site: Site) -> list[Problem]:
    """What is wrong in blocks of the site file that this job has no use for: found now, not on the day of the other
    job."""
    checker = Checker(Path(site.file).parent, site.refused, others={})
    for name, block in left_out.items():
        checker.value(block, {**block_schema(name), "required": []}, f"hardware.{name}", block.mark)
    return checker.problems


def _tree_of(value: Any, origins: dict[str, str], path: str) -> Node:  # noqa: ANN401 - any JSON value
    """Resolved values as a tree again, each leaf with the place it came from."""
    if isinstance(value, dict) and path not in origins:
        children = {key: _tree_of(item, origins, f"{path}.{key}" if path else key) for key, item in value.items()}
        mark = next((node.mark for node in children.values()), Mark("default", 0, 0))
        return MapNode({key: Entry(node.mark, node) for key, node in children.items()}, mark)
    return plain_node(value, mark_of(origins[path]))


def mark_of(origin: str) -> Mark:
    """The place that `origins` names."""
    origin = origin.removeprefix(MATRIX)
    file, _, column = origin.rpartition(":")
    file, _, line = file.rpartition(":")
    return Mark(file, int(line), int(column)) if file else Mark(origin, 0, 0)
