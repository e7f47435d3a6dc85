"""The frozen code of a run: RUN/code/runjob, and in RUN/code/CODE.json one sum over all of its files, by which a copy
of it is known to be whole."""

import hashlib
from pathlib import Path

from runjob.schemas.errors import RunjobError
from runjob.schemas.json_object import read_object

CODE_LIST = "CODE.json"
# In CODE.json: this code reads status.json, plan.json and handle.json that carry a sum of themselves
SUMS = "sums"


def refuse_damaged_code(code: Path) -> None:
    """RunjobError if the code of a run is not what was frozen; one of before there was a list has none."""
    file = code / CODE_LIST
    if not file.exists():
        return
    facts = read_object(file)
    if facts.get("sha256") != sum_of(code / "runjob"):
        commit = f", commit {facts['commit']}" if "commit" in facts else ""
        raise RunjobError(
            f"{code}: damaged: its files are not those that {CODE_LIST} has the sum of, and a run goes on with the "
            f"code that it began with: put it back (runjob {facts.get('version')}{commit}), or start a new job"
        )


def knows_sums(code: Path) -> bool:
    """May a file that the code of a run reads carry a sum of itself? Code that was frozen before there were any would
    take the sum for a field that it does not know, and refuse the file."""
    file = code / CODE_LIST
    return not file.exists() or read_object(file).get(SUMS) is True


def sum_of(package: Path) -> str:
    """Of every file's name and content, in the order of their names; what Python compiles of them is not ours."""
    digest = hashlib.sha256()
    files = (path for path in package.rglob("*") if path.is_file() and path.parent.name != "__pycache__")
    for name in sorted(path.relative_to(package) for path in files):
        content = hashlib.sha256((package / name).read_bytes()).hexdigest()
        digest.update(f"{name.as_posix()} {content}\n".encode())
    return digest.hexdigest()
