"""The local files that a job names, and where they lie in a copy of the run elsewhere: `<folder>/inputs/<key>/...`.

One folder for all that a field names (`data.path` may be a list), by a key of names, sizes, times, and what stands at
the beginning and the end of each: what is there already is not sent again, and a changed file never takes the place of
one that another job reads. Within the folder files keep their names and so their order, which is that of the documents
in the corpus.
"""

import glob
import hashlib
import os
import re
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runjob.schemas.paths import local_paths, relocated

# Of each end of a file: a corpus of a hundred gigabytes is not read a second time for its name
COMPARED = 1 << 20
FILE_URLS = ("file://", "local://")


@dataclass(frozen=True, kw_only=True)
class Input:
    """`names` below the folder `source` here belong under `inputs/<key>` there; `values` are the job's values of the
    field by their places, as paths below it."""

    key: str
    source: Path
    names: tuple[str, ...]
    values: Mapping[str, str]


def find_inputs(values: Mapping[str, Any]) -> list[Input]:
    """The inputs of a resolved job. A value that leads to nothing here is none: it is `prepare`'s to judge there."""
    fields: dict[str, dict[str, str]] = {}
    for where, value in local_paths(values).items():
        fields.setdefault(re.sub(r"(\[\d+\])+$", "", where), {})[where] = plain_path(value)
    return [found for places in fields.values() if (found := find_input(places)) is not None]


def find_input(places: Mapping[str, str]) -> Input | None:
    there = {where: (base_of(value), files_of(value)) for where, value in places.items()}
    there = {where: (base, files) for where, (base, files) in there.items() if files}
    if not there:
        return None
    source = Path(os.path.commonpath([base for base, _ in there.values()]))
    names = sorted({os.path.relpath(file, source) for _, files in there.values() for file in files})
    return Input(
        key=key_of(source, names),
        source=source,
        names=tuple(names),
        values={where: os.path.relpath(places[where], source) for where in there},
    )


def plain_path(value: str) -> str:
    for prefix in FILE_URLS:
        if value.startswith(prefix):
            return urllib.parse.unquote(value.removeprefix(prefix))
    return value


def base_of(value: str) -> Path:
    """The folder that a path or a pattern is told from: the last one before a wildcard, or the one that holds it."""
    path = Path(value)
    if os.path.lexists(path) or not glob.has_magic(value):
        return path.parent
    plain = []
    for part in path.parts:
        if glob.has_magic(part):
            break
        plain.append(part)
    return Path(*plain)


def files_of(value: str) -> list[str]:
    """Every file that a path, a folder or a pattern stands for."""
    path = Path(value)
    if path.is_file():
        return [value]
    if path.is_dir():
        folders = os.walk(value, followlinks=True)
        return [
            str(Path(folder, name)) for folder, _, names in folders for name in names if Path(folder, name).is_file()
        ]
    return [match for match in glob.glob(value, recursive=True) if Path(match).is_file()]  # noqa: PTH207 - absolute


def key_of(source: Path, names: list[str]) -> str:
    digest = hashlib.sha256()
    for name in names:
        facts = (source / name).stat()
        digest.update(f"{name}\0{facts.st_size}\0{facts.st_mtime_ns}\n".encode("utf-8", "surrogateescape"))
        with (source / name).open("rb") as file:  # archives and package tools give all their files one time
            digest.update(file.read(COMPARED))
            file.seek(max(facts.st_size - COMPARED, 0))
            digest.update(file.read(COMPARED))
    return digest.hexdigest()[:24]


def moved(values: Mapping[str, Any], inputs: list[Input], folder: str) -> dict[str, Any]:
    """The job's values with each input where it lies below `folder` (inputs/ there)."""
    there = {where: f"{folder}/{one.key}/{value}" for one in inputs for where, value in one.values.items()}
    in_order = iter([there.get(where, value) for where, value in local_paths(values).items()])
    # `relocated` asks for each local path in the order of `local_paths`
    return relocated(values, lambda path: next(in_order, path))
