"""The site file, `~/.config/runjob/site.yaml`: how this user's cluster, hosts and account are called, said once instead
of in every job file.

It holds `hardware: {slurm: ..., ssh: ..., aws: ...}`, the same closed blocks as a job's. Each lies under the job's own
block of that name, value by value: --set wins over the job file, that over the site file, that over the defaults. Where
there is no site file, it costs one look.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from runjob.schemas import wording
from runjob.schemas.problems import JobFileError, Mark, Problem
from runjob.schemas.schema import Schema, bundled_schema, follow
from runjob.schemas.yaml import MAX_BYTES, Entry, ListNode, MapNode, Node, Scalar, compose_bytes

BLOCKS = ("slurm", "ssh", "aws")
HOLDS = f"a site file holds `hardware` with {wording.one_of(BLOCKS)}"


@dataclass(frozen=True, kw_only=True)
class Site:
    """The blocks of the site file by name, and what is wrong with it; `file` is empty where there is none."""

    file: str
    blocks: dict[str, Entry]
    problems: tuple[Problem, ...]
    refused: frozenset[Mark]


NO_SITE = Site(file="", blocks={}, problems=(), refused=frozenset())


def site_path() -> Path:
    """$XDG_CONFIG_HOME/runjob/site.yaml, else under ~/.config, on every system."""
    named = Path(os.environ["XDG_CONFIG_HOME"]) if "XDG_CONFIG_HOME" in os.environ else Path()
    base = named if named.is_absolute() else Path("~/.config").expanduser()  # the standard ignores a relative one
    return base / "runjob" / "site.yaml"


def read_site() -> Site:
    path = site_path()
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        return NO_SITE
    except OSError as error:
        said = f"can't be read: {error.strerror}"
        return _broken(path, Problem(file=str(path), line=0, column=0, path="", message=said))
    try:
        document = compose_bytes(raw, str(path))
    except JobFileError as error:
        return _broken(path, *error.problems)
    blocks, found = _blocks(document.node)
    return Site(
        file=str(path), blocks=blocks, problems=(*document.problems, *found), refused=frozenset(document.refused)
    )


def _broken(path: Path, *problems: Problem) -> Site:
    return Site(file=str(path), blocks={}, problems=problems, refused=frozenset())


def _blocks(top: Node) -> tuple[dict[str, Entry], list[Problem]]:
    problems: list[Problem] = []
    blocks: dict[str, Entry] = {}
    for _, hardware in _known(top, "", ("hardware",), problems):
        for key, block in _known(hardware.node, "hardware", BLOCKS, problems):
            if isinstance(block.node, MapNode):
                blocks[key] = block
            elif not _is_null(block.node):
                problems.append(_no_mapping(block.node, f"hardware.{key}"))
    return blocks, problems


def _known(node: Node, path: str, known: tuple[str, ...], problems: list[Problem]) -> Iterator[tuple[str, Entry]]:
    """The entries of a mapping by keys that may stand there; null stands for none."""
    if _is_null(node):
        return
    if not isinstance(node, MapNode):
        problems.append(_no_mapping(node, path))
        return
    for key, entry in node.entries.items():
        if key in known:
            yield key, entry
        else:
            problems.append(Problem.at(entry.mark, f"{path}.{key}".lstrip("."), f"unknown key; {HOLDS}"))


def _no_mapping(node: Node, path: str) -> Problem:
    return Problem.at(node.mark, path, f"expected keys and values, not {wording.found(node)}; {HOLDS}")


def _is_null(node: Node) -> bool:
    return isinstance(node, Scalar) and node.value is None


def lay_under(tree: Node, site: Site) -> tuple[Node, dict[str, MapNode]]:
    """The tree of a job with the site's blocks under its own, and the blocks that were left out: the job says nothing
    of them, and by themselves they lack something that every such block needs (an account's region is worth writing
    down, though an instance is each job's own matter)."""
    if not isinstance(tree, MapNode) or "hardware" not in tree.entries:
        return tree, {}
    hardware = tree.entries["hardware"]
    if not isinstance(hardware.node, MapNode):
        return tree, {}
    entries, left_out = dict(hardware.node.entries), {}
    for name, block in site.blocks.items():
        assert isinstance(block.node, MapNode)  # _blocks takes no others
        if name not in entries or _is_default(entries[name].node):
            if set(block_schema(name).get("required", ())) - set(block.node.entries):
                left_out[name] = block.node
            else:
                entries[name] = block
        elif isinstance(own := entries[name].node, MapNode):
            said = {key: entry for key, entry in own.entries.items() if not _is_default(entry.node)}
            entries[name] = Entry(entries[name].mark, MapNode({**own.entries, **block.node.entries, **said}, own.mark))
    laid = MapNode(entries, hardware.node.mark, hardware.node.partial)
    return MapNode({**tree.entries, "hardware": Entry(hardware.mark, laid)}, tree.mark, tree.partial), left_out


def _is_default(node: Node) -> bool:
    """In a job.json that is resolved anew: nobody has said it."""
    return isinstance(node, Scalar | ListNode) and node.mark.is_default


def block_schema(name: str) -> Schema:
    return follow(follow(bundled_schema()["properties"]["hardware"])["properties"][name])
