"""SHA256SUMS of a directory that others may use as well: a sum a line, as `sha256sum --check SHA256SUMS` reads them. A
model with one weight changed answers, and nobody would know."""

from pathlib import Path

from runjob.schemas.errors import CheckpointError
from runjob.schemas.manifest import sha256_of

SUMS = "SHA256SUMS"
# Its owner is meant to write in it
OWNERS = ("README.md",)


def write_sums(directory: Path) -> None:
    files = sorted(path for path in directory.rglob("*") if path.is_file() and path.name not in (SUMS, *OWNERS))
    lines = [f"{sha256_of(path)}  {path.relative_to(directory).as_posix()}\n" for path in files]
    (directory / SUMS).write_text("".join(lines), encoding="utf-8")


def refuse_damaged(directory: Path) -> None:
    """CheckpointError names each file that is not what it was; a directory from elsewhere has no sums to go by."""
    file = directory / SUMS
    if not file.is_file():
        return
    lines = file.read_bytes().decode("utf-8", errors="replace").splitlines()
    expected = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    wrong = [name or SUMS for name, digest in expected.items() if not is_file_of(directory / name, digest)]
    if wrong or not expected:
        raise CheckpointError(
            f"{directory}: {', '.join(wrong) or SUMS} is not what {SUMS} says: damaged, or changed since; export the "
            f"model again, or delete {SUMS} if the change is yours"
        )


def is_file_of(path: Path, digest: str) -> bool:
    return path.is_file() and sha256_of(path) == digest
