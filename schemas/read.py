"""A job file to one typed Job, or to every problem it has.

    file --yaml.py--> tree --overrides.py--> tree with --set --site.py--> with the site file's blocks under its own
      --check.py--> values, defaults filled in
                      |--rules.py--> what a schema can't say
                      '--build.py--> Job, when asked for

job.json in the run directory holds the values with each one's origin: job_json.py, which needs none of this.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from runjob.schemas.check import Checker, plain_node
from runjob.schemas.job_json import Resolved, read_job_json, write_job_json
from runjob.schemas.overrides import apply_sets
from runjob.schemas.problems import JobFileError, Mark, Problem
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


def read_job(path: Path, sets: Sequence[str] = ()) -> Resolved:
    """The job of a file with its --set values; JobFileError holds every problem at once."""
    document = compose_bytes(_read_bytes(path), str(path))
    if isinstance(document.node, Scalar) and document.node.value is None and not document.problems:
        said = "the file is empty; a job begins with `schema: 1`"
        raise JobFileError([Problem.at(Mark(str(path), 1, 1), "", said)])
    return _resolve(document, sets, path.absolute().parent)


def override_job(resolved: Resolved, sets: Sequence[str]) -> Resolved:
    """A job that was read before (job.json) with further --set values, as `resume --set` wants it."""
    tree = _tree_of(resolved.values, resolved.origins, "")
    return _resolve(Document(tree, (), frozenset()), sets, Path.cwd())


def _read_bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except OSError as error:
        said = f"can't be read: {error.strerror}"
        raise JobFileError([Problem(file=str(path), line=0, column=0, path="", message=said)]) from error


def _resolve(document: Document, sets: Sequence[str], directory: Path) -> Resolved:
    file = document.node.mark.file
    tree, unread = apply_sets(document.node, sets)
    site = read_site()
    tree, left_out = lay_under(tree, site)
    checker = Checker(directory, document.refused | site.refused, site_file=site.file)
    values = checker.job(tree)
    found = [*document.problems, *unread, *checker.problems, *site.problems, *_problems_of(left_out, site)]
    if isinstance(values, dict):
        found += find_broken_rules(values, checker.marks)
    if found:
        # in the order of the file, then of the arguments
        raise JobFileError(sorted(found, key=lambda problem: (problem.file != file, problem.line, problem.column)))
    plain = json.loads(json.dumps(values))
    return Resolved(values=plain, origins=checker.origins)


def _problems_of(left_out: Mapping[str, MapNode], site: Site) -> list[Problem]:
    """What is wrong in blocks of the site file that this job has no use for: found now, not on the day of the other
    job."""
    checker = Checker(Path(site.file).parent, site.refused, site_file=site.file)
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
    file, _, column = origin.rpartition(":")
    file, _, line = file.rpartition(":")
    return Mark(file, int(line), int(column)) if file else Mark(origin, 0, 0)
