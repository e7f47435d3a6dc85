"""The frozen code of a run: RUN/code/runjob, and in RUN/code/CODE.json one sum over all of its files, by which a copy
of it is known to be whole."""

import hashlib
from pathlib import Path

CODE_LIST = "CODE.json"


def sum_of(package: Path) -> str:
    """Of every file's name and content, in the order of their names."""
    digest = hashlib.sha256()
    for name in sorted(path.relative_to(package) for path in package.rglob("*") if path.is_file()):
        content = hashlib.sha256((package / name).read_bytes()).hexdigest()
        digest.update(f"{name.as_posix()} {content}\n".encode())
    return digest.hexdigest()
