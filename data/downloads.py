"""Remote files, fetched once and kept: from then on they are local files, and a mirror with the same bytes makes the
same store.

    <cache>/downloads/<address>/<version>/record.json     what the server said: address, size, version
    <cache>/downloads/<address>/<version>/NAME.part       as far as it has come; a later prepare goes on at its end
    <cache>/downloads/<address>/<version>/NAME            all of it: renamed when complete, so no half is taken for one
    <cache>/downloads/<address>/listing.json              what a glob stood for

<address> and <version> are hashes; the second of size and ETag (or what else the server says), so that a file which
changed there begins anew beside the old one. Where no server answers, what was fetched before is used, and said.
"""

import hashlib
import json
import os
import shutil
import time
import urllib.parse
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from runjob.data.locks import only_one
from runjob.data.remote import Remote, RemoteError, expand, has_glob, look, read_blocks
from runjob.data.space import check_space, in_words, saying_full
from runjob.schemas.errors import DataError, MissingError
from runjob.schemas.run import read_json, sync_path, write_json

# Pauses before another try; what comes in between puts the count back, so a bad line gets through too.
PAUSES_S = (0.5, 1.0, 2.0, 4.0, 8.0)
# Whether a server answers at all is found out sooner
ASKED_AGAIN = 2
TELL_EVERY_S = 0.2
LONGEST_NAME = 120
Answer = TypeVar("Answer")
LOCAL_COPY = "a local copy may lie anywhere: write its path into data.path"


@dataclass(frozen=True, kw_only=True)
class Fetching:
    """How far one file is; `begun` bytes of it had come earlier. `total` is None where the server doesn't say."""

    url: str
    done: int
    begun: int
    total: int | None
    seconds: float
    note: str


class Downloads:
    """`pinned` is what an earlier attempt of the same run used, and `used` what this one does: by address the version
    of each file, by data set the commit. Both are JSON."""

    def __init__(
        self,
        cache: Path,
        *,
        report: Callable[[Fetching], None],
        pinned: Mapping[str, Any],
        pauses_s: tuple[float, ...] = PAUSES_S,
    ) -> None:
        self.root = cache / "downloads"
        self.pinned = pinned
        self.used: dict[str, Any] = {}
        self._report = report
        self._pauses_s = pauses_s
        self._silent: dict[str, RemoteError] = {}

    def fetch(self, pattern: str) -> dict[str, Path]:
        """The local copies of what an address or a glob of addresses stands for, by address."""
        pinned: Mapping[str, str] = self.pinned.get(pattern, {})
        files = {url: self._fetch(url, pinned.get(url)) for url in pinned or self._expand(pattern)}
        self.used[pattern] = {url: path.parent.name for url, path in files.items()}
        return files

    def _expand(self, pattern: str) -> list[str]:
        if not has_glob(pattern):
            return [pattern]
        listing = self.root / _hash(pattern) / "listing.json"
        try:
            urls = self._ask(expand, pattern)
        except RemoteError as error:
            if error.answered or not listing.exists():
                raise MissingError(f"data.path: {pattern} can't be listed: {error}; {LOCAL_COPY}") from error
            known: list[str] = read_json(listing)
            return known
        listing.parent.mkdir(parents=True, exist_ok=True)
        write_json(listing, urls)
        return urls

    def _fetch(self, url: str, pinned: str | None) -> Path:
        folder = self.root / _hash(url)
        if pinned is not None and (copy := folder / pinned / _name(url)).exists():
            return copy
        try:
            remote = self._ask(look, url)
        except RemoteError as error:
            return self._earlier(url, folder, error, pinned)
        version = _version(remote)
        if pinned is not None and version != pinned:
            raise DataError(
                f"data.path: {url} is not what this run began with ({remote.version}, {remote.size} bytes now), and "
                f"the copy of then is not in {folder}; put the old file's path into data.path, or start a new job"
            )
        copy = folder / version / _name(url)
        if not copy.exists():
            with only_one(folder.with_suffix(".lock"), waiting=lambda owner: self._waits(url, owner)):
                if not copy.exists():  # fetched by the process that we waited for
                    self._download(remote, copy)
        return copy

    def _ask(self, question: Callable[[str], Answer], url: str) -> Answer:
        """A few times where no answer comes; then nothing more is asked of that server, for each answer that doesn't
        come may take a minute."""
        server = "{0.scheme}://{0.netloc}".format(urllib.parse.urlsplit(url))
        if server in self._silent:
            raise self._silent[server]
        for pause_s in (*self._pauses_s[:ASKED_AGAIN], None):
            try:
                return question(url)
            except RemoteError as error:
                if error.answered:
                    raise
                if pause_s is None:
                    self._silent[server] = error
                    raise
                time.sleep(pause_s)
        raise AssertionError("the last try returns or raises")

    def _earlier(self, url: str, folder: Path, error: RemoteError, pinned: str | None) -> Path:
        """The newest copy that is complete, where no server answers."""
        copies = [path for path in folder.glob(f"*/{_name(url)}") if pinned is None]
        if error.answered or not copies:
            kept = "" if error.answered else f", and there is no complete copy of earlier in {folder}"
            raise MissingError(f"data.path: {url} can't be fetched: {error}{kept}; {LOCAL_COPY}") from error
        copy = max(copies, key=lambda path: path.stat().st_mtime)
        self._tell(url, copy.stat().st_size, note=f"no answer ({error}); the copy fetched earlier is used")
        return copy

    def _download(self, remote: Remote, copy: Path) -> None:
        part = copy.with_name(f"{copy.name}.part")
        for other in copy.parent.parent.glob("*"):  # halves of versions that the server has no more
            if other.is_dir() and other != copy.parent and not (other / copy.name).exists():
                shutil.rmtree(other)
        begun = part.stat().st_size if part.exists() else 0
        check_space(copy.parent, needed=(remote.size or 0) - begun, what=remote.url)
        with saying_full(copy.parent):
            copy.parent.mkdir(parents=True, exist_ok=True)
            write_json(copy.parent / "record.json", asdict(remote))
            self._keep_trying(remote, part)
            self._refuse_changed(remote, copy.parent)
            part.rename(copy)
            sync_path(copy.parent)

    def _keep_trying(self, remote: Remote, part: Path) -> None:
        failed = 0
        while True:
            before = part.stat().st_size if part.exists() else 0
            try:
                self._append(remote, part, start=before if remote.size is not None else 0)
                return
            except RemoteError as error:
                here = part.stat().st_size if part.exists() else 0
                failed = 1 if here > before else failed + 1
                if error.answered or failed > len(self._pauses_s):
                    raise MissingError(
                        f"data.path: {remote.url} broke off ({error}); {in_words(here)} of "
                        f"{'an unknown size' if remote.size is None else in_words(remote.size)} are kept, and the same "
                        f"command goes on there; {LOCAL_COPY}"
                    ) from error
                self._tell(remote.url, here, total=remote.size, note=f"broke off ({error}), trying again")
                time.sleep(self._pauses_s[failed - 1])

    def _append(self, remote: Remote, part: Path, *, start: int) -> None:
        began = told = time.monotonic()
        self._tell(remote.url, start, total=remote.size)
        with part.open("r+b" if part.exists() else "wb") as file:
            file.seek(start)
            for place, block in read_blocks(remote, start=start):
                if place != file.tell():
                    file.seek(place)
                    file.truncate()
                    start = min(start, place)
                file.write(block)
                file.flush()
                os.fsync(file.fileno())  # what stands in the part is on the disk, whatever happens to the machine
                if time.monotonic() - told >= TELL_EVERY_S:
                    told = time.monotonic()
                    self._tell(remote.url, file.tell(), begun=start, total=remote.size, seconds=told - began)
            file.truncate()
            seconds = time.monotonic() - began
            self._tell(remote.url, file.tell(), begun=start, total=remote.size, seconds=seconds)

    def _refuse_changed(self, remote: Remote, folder: Path) -> None:
        """The blocks came one by one: were they all of one version?"""
        try:
            now = self._ask(look, remote.url)
        except RemoteError as error:
            raise MissingError(f"data.path: {remote.url} was fetched, then: {error}; start again") from error
        if now != remote:
            shutil.rmtree(folder)
            raise DataError(f"data.path: {remote.url} changed on its server while it was fetched; start again")

    def _waits(self, url: str, owner: str) -> None:
        self._tell(url, 0, note=f"waiting for {owner}, which fetches the same file")

    def _tell(
        self, url: str, done: int, *, begun: int = 0, total: int | None = None, seconds: float = 0.0, note: str = ""
    ) -> None:
        self._report(Fetching(url=url, done=done, begun=begun, total=total, seconds=seconds, note=note))


def _name(url: str) -> str:
    """As the file is called there: its ending says how it is packed."""
    name = PurePosixPath(urllib.parse.unquote(urllib.parse.urlsplit(url).path)).name
    return "".join(letter if letter.isalnum() or letter in "._-" else "_" for letter in name)[-LONGEST_NAME:] or "file"


def _version(remote: Remote) -> str:
    return _hash(json.dumps([remote.size, remote.version]))


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]
