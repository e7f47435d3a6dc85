"""The files that a job's paths, globs, addresses and sample names stand for."""

import glob
import os
import stat
import urllib.parse
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from runjob.data.samples import PREFIX, locate
from runjob.schemas.errors import MissingError
from runjob.schemas.urls import is_url

if TYPE_CHECKING:
    from runjob.data.downloads import Downloads

LOCAL = ("file://", "local://")
# What files of each kind of source are usually called, for messages
LIKE = {"text": "*.txt", "jsonl": "*.jsonl", "parquet": "*.parquet", "conll": "*.conll"}
NO_FILES = {
    stat.S_ISDIR: "a directory",
    stat.S_ISFIFO: "a named pipe",
    stat.S_ISSOCK: "a socket",
    stat.S_ISCHR: "a device",
    stat.S_ISBLK: "a device",
}


@dataclass(frozen=True, kw_only=True)
class CorpusFile:
    """`name` is what the user calls it: its path, or the address that it was fetched from."""

    name: str
    path: Path


def is_remote(pattern: str) -> bool:
    """Is it an address of something that lies elsewhere? `file://` is not."""
    return is_url(pattern) and not pattern.startswith(LOCAL)


def find_files(patterns: tuple[str, ...], *, like: str, downloads: "Downloads | None") -> tuple[CorpusFile, ...]:
    """Each file once, sorted by name; all of them can be opened, or MissingError says of one why not."""
    found: dict[str, CorpusFile] = {}
    for pattern in patterns:
        if is_remote(pattern):
            if downloads is None:
                raise MissingError(f"data.path: {pattern} is fetched by `runjob prepare`, and nothing else may")
            files = [CorpusFile(name=name, path=path) for name, path in downloads.fetch(pattern).items()]
        else:
            files = [CorpusFile(name=str(path), path=path) for path in _named(pattern, like=like)]
        found.update({file.name: file for file in files})
    # By the parts of the name, so that a folder's files stay together: a/b before a-b
    return tuple(sorted(found.values(), key=lambda file: PurePosixPath(file.name).parts))


def _named(pattern: str, *, like: str) -> list[Path]:
    try:
        return local_files(pattern, like=like)
    except MissingError as error:
        raise MissingError(f"data.path: {error}") from error


def local_files(pattern: str, *, like: str) -> list[Path]:
    """What a path, a glob or a sample's name stands for, or MissingError."""
    if pattern.startswith(PREFIX):
        return [locate(pattern)]
    if pattern.startswith(LOCAL):
        pattern = urllib.parse.unquote(pattern.partition("://")[2])
    path = Path(pattern)
    try:
        if path.exists():
            return [_checked(path, like=like)]
        matches = [Path(match) for match in glob.glob(pattern, recursive=True)]  # noqa: PTH207 - may be absolute
        files = [_checked(match, like=like) for match in sorted(matches) if match.is_file()]
    except OSError as error:  # a directory on the way that may not be entered, a name that is too long
        raise MissingError(f"{pattern}: {error.strerror}") from error
    if files:
        return files
    if path.is_symlink():
        raise MissingError(f"{pattern} is a link to {os.readlink(path)}, which is not there")  # noqa: PTH115
    if not glob.has_magic(pattern):
        raise MissingError(f"{pattern}: no such file")
    raise MissingError(f"{pattern}: no file matches{', only directories and the like' if matches else ''}")


def _checked(path: Path, *, like: str) -> Path:
    """The same path, if it is a file that may be read."""
    mode = path.stat().st_mode
    for is_kind, kind in NO_FILES.items():
        if is_kind(mode):
            remedy = f"name its files, for example {path}/{like}" if kind == "a directory" else "write it to a file"
            raise MissingError(f"{path} is {kind}; {remedy}")
    if not os.access(path, os.R_OK):
        raise MissingError(f"{path} may not be read by this user")
    return path
