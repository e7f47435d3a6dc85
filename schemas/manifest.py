"""What a checkpoint's folder says of itself: its step by its name, and in manifest.json the sizes and sha256 of its
files, with a digest of its own. That is written last and believed alone: a folder without a good one is no checkpoint,
here as in a copy of the run. The worker writes it (its room checkpoint.py says what the files are); who carries
checkpoints elsewhere reads it, and needs no torch for that."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from runjob.schemas.records import SEAL, digest_of, sealed
from runjob.schemas.run import read_json, sync_path, write_json

FORMAT = 1
MANIFEST = "manifest.json"


def folder_name(step: int) -> str:
    return f"step-{step:08d}"


def step_of(name: str) -> int | None:
    """The step of a checkpoint's folder by its name; None of a name that is none.

    >>> step_of("step-00000014"), step_of(".step-00000014.tmp")
    (14, None)
    """
    digits = name.removeprefix("step-")
    return int(digits) if name.startswith("step-") and digits.isdecimal() else None


def folders_in(checkpoints: Path) -> dict[int, Path]:
    """Every folder that bears a checkpoint's name, by its step, oldest first; complete or not."""
    folders = [path for path in checkpoints.iterdir() if path.is_dir()] if checkpoints.is_dir() else []
    steps = {step: path for path in folders if (step := step_of(path.name)) is not None}
    return dict(sorted(steps.items()))


def steps_in(checkpoints: Path) -> list[int]:
    """Steps of checkpoints whose manifest stands, oldest first; what it says of their contents is compared when one is
    used."""
    return [step for step, folder in folders_in(checkpoints).items() if (folder / MANIFEST).exists()]


def best_of(folder: Path) -> int | None:
    """The step of the checkpoint that this one calls the best so far; RunjobError if that can't be read."""
    best = read_json(folder / "state.json")["state"]["best"]
    return None if best is None else int(best["step"])


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True, kw_only=True)
class FileFacts:
    size: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Manifest:
    format: int
    step: int
    files: dict[str, FileFacts]


def measure(path: Path) -> FileFacts:
    """Size and sha256 of a file that is safely on disk."""
    sync_path(path)
    return FileFacts(size=path.stat().st_size, sha256=sha256_of(path))


def write_manifest(folder: Path, step: int) -> None:
    files = {path.name: vars(measure(path)) for path in sorted(folder.iterdir())}
    manifest = {"format": FORMAT, "step": step, "files": files}
    write_json(folder / MANIFEST, sealed(manifest))


def parse_manifest(data: bytes) -> Manifest | None:
    """None if the bytes are no whole manifest: cut off, another's, or one that speaks of files outside."""
    try:
        raw = json.loads(data)
        whole = raw.pop(SEAL) == digest_of(raw)
        files = {name: FileFacts(**facts) for name, facts in raw["files"].items()} if whole else {}
        inside = all("/" not in name and name not in (".", "..") for name in files)
        return Manifest(format=raw["format"], step=raw["step"], files=files) if whole and inside else None
    except (ValueError, AttributeError, KeyError, TypeError):
        return None


def damage(path: Path) -> Iterator[str]:
    """What is wrong with a checkpoint folder: no manifest, a file missing, of another size or of another content."""
    if not (path / MANIFEST).exists():
        yield "half-written: it has no manifest.json"
        return
    manifest = parse_manifest((path / MANIFEST).read_bytes())
    if manifest is None or folder_name(manifest.step) != path.name:
        yield "its manifest.json is damaged"
        return
    if manifest.format != FORMAT:
        yield f"format {manifest.format}, this runjob reads {FORMAT}"
        return
    for name, what in damaged_files(path, manifest, thorough=True):
        yield f"{name} {what}"


def damaged_files(folder: Path, manifest: Manifest, *, thorough: bool) -> Iterator[tuple[str, str]]:
    """Each file that is not what the manifest says, by size, or `thorough`ly by content, and what is wrong with it."""
    for name, expected in manifest.files.items():
        file = folder / name
        if not file.is_file():
            yield name, "is missing"
        elif file.stat().st_size != expected.size:
            yield name, f"has {file.stat().st_size} bytes, the manifest says {expected.size}"
        elif thorough and sha256_of(file) != expected.sha256:
            yield name, "is damaged (its sha256 is not the manifest's)"
