"""sha256 of the corpus files, remembered by (path, size, time of change), so that a job which finds its data prepared
starts at once and doesn't read them again."""

import json
import time
from collections.abc import Callable
from pathlib import Path

from runjob.data.file_sums import sha256_of
from runjob.schemas.json_object import read_object
from runjob.schemas.records import SEAL, digest_of, sealed
from runjob.schemas.run import write_json

# A file changed a moment ago may change again within the clock tick of its time of change; it is not remembered.
SETTLED_S = 2.0


class DigestCache:
    """`<cache>/digests.json`. Two processes writing at once lose an entry at worst, which costs one more reading."""

    def __init__(self, path: Path, *, told: Callable[[int], None] | None = None) -> None:
        self.path = path
        self.told = told
        self._known: dict[str, str] = _read(path)

    def file(self, file: Path) -> str:
        return self.of(file.absolute().as_posix(), (file,), lambda: sha256_of(file, told=self.told))

    def of(self, name: str, files: tuple[Path, ...], compute: Callable[[], str]) -> str:
        """The digest called `name`, computed again whenever one of `files` is another than it was."""
        stats = [(file.absolute().as_posix(), file.stat()) for file in files]
        key = json.dumps([name, *((path, stat.st_size, stat.st_mtime_ns, stat.st_ino) for path, stat in stats)])
        if key in self._known:
            return self._known[key]
        digest = compute()
        if all(time.time() - stat.st_mtime > SETTLED_S for _, stat in stats):
            self._known = {**_read(self.path), key: digest}
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_json(self.path, sealed(self._known))
        return digest


def _read(path: Path) -> dict[str, str]:
    """What is remembered; a damaged file remembers nothing, since all of it can be computed again."""
    known: dict[str, str] = read_object(path)
    return known if known.pop(SEAL, "") == digest_of(known) else {}
