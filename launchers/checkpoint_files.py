"""Which checkpoints of a run are complete, and which of them a start elsewhere needs; without torch.

A folder `step-NNNNNNNN` counts when its manifest.json (schemas/manifest.py), which is written last, vouches for itself
and every file that it lists.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from runjob.schemas.manifest import MANIFEST, Manifest, folder_name, parse_manifest

PREFIX = "step-"


def read_manifest(folder: Path) -> Manifest | None:
    """The manifest of a checkpoint; None where it is missing, damaged or another folder's."""
    try:
        manifest = parse_manifest((folder / MANIFEST).read_bytes())
    except OSError:
        return None
    return manifest if manifest is not None and folder_name(manifest.step) == folder.name else None


def damaged(folder: Path, *, thorough: bool) -> Iterator[str]:
    """Names of files that are not what the manifest says, by size, or `thorough`ly by content."""
    manifest = read_manifest(folder)
    if manifest is None:
        yield MANIFEST
        return
    for name, expected in manifest.files.items():
        file = folder / name
        if (
            not file.is_file()
            or file.stat().st_size != expected.size
            or (thorough and sha256_of(file) != expected.sha256)
        ):
            yield name


def is_same(folder: Path, manifest: str | None) -> bool:
    """Does every byte stand here of the checkpoint whose manifest.json has this sha256? Sizes would not do: a file that
    a disk has spoilt keeps its own. None: only that what is here is sound, for copies whose code tells no more."""
    if not folder.is_dir() or any(damaged(folder, thorough=True)):
        return False
    return manifest is None or sha256_of(folder / MANIFEST) == manifest


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def complete_checkpoints(folder: Path) -> list[str]:
    """Names of the complete checkpoints under `checkpoints/`, oldest first; contents are compared when used."""
    if not folder.is_dir():
        return []
    names = sorted(path.name for path in folder.glob(f"{PREFIX}*") if path.is_dir())
    return [name for name in names if not any(damaged(folder / name, thorough=False))]


def needed_for(folder: Path, start_from: str | int) -> list[str]:
    """Of the checkpoints under `folder` those that a start from here needs: that one, and the best one it names, which
    is exported at the end. `start_from` is `latest`, `best` or a step."""
    there = complete_checkpoints(folder)
    named = [name for name in there if name == folder_name(start_from)] if isinstance(start_from, int) else there[-1:]
    return with_best(folder, named, there)


def with_best(folder: Path, wanted: Iterable[str], there: list[str]) -> list[str]:
    named = {best_of(folder / name) for name in wanted}
    return sorted({*wanted, *(name for name in there if name in named)})


def best_of(folder: Path) -> str:
    """The name of the checkpoint that this one calls the best so far; empty if there is none."""
    best = json.loads((folder / "state.json").read_text(encoding="utf-8"))["state"]["best"]
    return folder_name(best["step"]) if best is not None else ""
