"""Which checkpoints of a run are complete, and which of them a start elsewhere needs; without torch.

A folder `step-NNNNNNNN` counts when its manifest.json (schemas/manifest.py), which is written last, vouches for itself
and every file that it lists.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

from runjob.schemas.manifest import (
    MANIFEST,
    Manifest,
    best_of,
    damaged_files,
    folder_name,
    folders_in,
    parse_manifest,
    sha256_of,
    step_of,
)


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
    yield from (name for name, _ in damaged_files(folder, manifest, thorough=thorough))


def is_same(folder: Path, manifest: str | None) -> bool:
    """Does every byte stand here of the checkpoint whose manifest.json has this sha256? Sizes would not do: a file that
    a disk has spoilt keeps its own. None: only that what is here is sound, for copies whose code tells no more."""
    if not folder.is_dir() or any(damaged(folder, thorough=True)):
        return False
    return manifest is None or sha256_of(folder / MANIFEST) == manifest


def complete_checkpoints(folder: Path) -> list[str]:
    """Names of the complete checkpoints under `checkpoints/`, oldest first; contents are compared when used."""
    return [one.name for one in folders_in(folder).values() if not any(damaged(one, thorough=False))]


def needed_for(folder: Path, start_from: str | int) -> list[str]:
    """Of the checkpoints under `folder` those that a start from here needs: that one, and the best one it names, which
    is exported at the end. `start_from` is `latest`, `best` or a step."""
    there = complete_checkpoints(folder)
    named = [name for name in there if name == folder_name(start_from)] if isinstance(start_from, int) else there[-1:]
    return with_best(folder, named, there)


def with_best(folder: Path, wanted: Iterable[str], there: list[str]) -> list[str]:
    named = {best_of(folder / name) for name in wanted}
    return sorted({*wanted, *(name for name in there if step_of(name) in named)})
