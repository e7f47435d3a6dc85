"""A folder at an fsspec address, with the few verbs that a copy of a run needs: put, read, size, digest, names, remove.

What is put there appears whole or not at all. Object stores work so by themselves; elsewhere (a plain folder, SFTP) it
is written beside and renamed. Credentials are found by the library of the address in its own ways; none passes here.
"""

import functools
import hashlib
import posixpath
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

from runjob.data.remote import explain, failures, find_problem
from runjob.runner.worker.faults import fault_point
from runjob.schemas.manifest import FileFacts

BLOCK = 4 * 2**20
# Kinds of address at which a half-written file would be seen under its name
FOLDERS = ("file", "local", "sftp", "ssh", "smb", "ftp", "hdfs", "webhdfs", "arrow_hdfs")
BESIDE = ".part"
# A dead connection is given up after so long; the uploader's own patience comes on top of it.
CONNECT_S, SILENCE_S = 15, 60
Answer = TypeVar("Answer")


class Store:
    """Names are relative, with slashes. RemoteError for whatever goes wrong on the way or there."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self.writes = 0
        problem = find_problem(url, where="output.remote")
        if problem is not None:
            raise problem
        self.protocol = url.partition("://")[0].lower()
        self.system, self.root = _try(lambda: _open(self.url, self.protocol))

    def put(self, local: Path, name: str) -> None:
        self._write(name, lambda path: self.system.put_file(str(local), path))

    def put_bytes(self, data: bytes, name: str) -> None:
        self._write(name, lambda path: self.system.pipe_file(path, data))

    def read(self, name: str) -> bytes | None:
        """None where there is no such file."""
        try:
            data: bytes = _try(lambda: self.system.cat_file(self._path(name)), absent=True)
        except FileNotFoundError:
            return None
        return data

    def get(self, name: str, local: Path) -> None:
        _try(lambda: self.system.get_file(self._path(name), str(local)))

    def size(self, name: str) -> int | None:
        """None where there is no such file."""
        try:
            size: int = _try(lambda: self.system.info(self._path(name)), absent=True)["size"]
        except FileNotFoundError:
            return None
        return size

    def measure(self, name: str) -> FileFacts:
        """Size and sha256 of what lies there: read back, since no other word for it is the same at every address."""

        def read() -> FileFacts:
            digest, size = hashlib.sha256(), 0
            with self.system.open(self._path(name), "rb", block_size=BLOCK, cache_type="none") as file:
                while block := file.read(BLOCK):
                    digest.update(block)
                    size += len(block)
            return FileFacts(size=size, sha256=digest.hexdigest())

        return _try(read)

    def sizes(self, folder: str) -> dict[str, int]:
        """Every file below a folder, relative to the root, with its size; none where there is no such folder."""
        try:
            found: dict[str, dict[str, int]] = _try(
                lambda: self.system.find(self._path(folder), detail=True), absent=True
            )
        except FileNotFoundError:
            return {}
        names = {path.removeprefix(f"{self.root}/"): facts["size"] for path, facts in sorted(found.items())}
        return {name: size for name, size in names.items() if not name.endswith(BESIDE)}

    def remove(self, names: Iterable[str]) -> None:
        for name in names:
            self._fault()
            _try(functools.partial(self.system.rm_file, self._path(name)))
        self._fault()

    def remove_folder(self, folder: str) -> None:
        """With whatever is in it, where there are such things as folders."""
        if self.protocol in FOLDERS and _try(lambda: self.system.isdir(self._path(folder))):
            _try(lambda: self.system.rm(self._path(folder), recursive=True))

    def _path(self, name: str) -> str:
        return posixpath.join(self.root, name) if name else self.root

    def _write(self, name: str, put: Callable[[str], Any]) -> None:
        path = self._path(name)
        self._fault()
        if self.protocol not in FOLDERS:
            _try(lambda: put(path))
        else:
            beside = posixpath.join(posixpath.dirname(path), f".{posixpath.basename(path)}{BESIDE}")
            _try(lambda: self.system.makedirs(posixpath.dirname(path), exist_ok=True))
            _try(lambda: put(beside))
            self._fault()
            _try(lambda: self.system.mv(beside, path))
        self._fault()

    def _fault(self) -> None:
        """Every moment at which a kill could leave something half done: the tests go through all of them."""
        self.writes += 1
        fault_point("remote-write", step=self.writes)


def _open(url: str, protocol: str) -> tuple[Any, str]:
    import fsspec

    options: dict[str, Any] = {"use_listings_cache": False, "skip_instance_cache": True}
    if protocol in ("s3", "s3a"):
        # 2 parts of 50 MiB in memory at a time, not 10: this runs beside a training
        options["max_concurrency"] = 2
        options["config_kwargs"] = {"connect_timeout": CONNECT_S, "read_timeout": SILENCE_S}
    system, path = fsspec.core.url_to_fs(url, **options)
    return system, path.rstrip("/")


def _try(ask: Callable[[], Answer], *, absent: bool = False) -> Answer:
    """With `absent` a missing file is FileNotFoundError, an answer rather than a failure."""
    try:
        return ask()
    except failures() as error:
        if absent and isinstance(error, FileNotFoundError):
            raise
        raise explain(error) from error
