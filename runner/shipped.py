"""What the package brings along: sample corpora and job files."""

import importlib.util
from dataclasses import dataclass
from pathlib import Path

from runjob.runner.snapshot import SAMPLES, package_root, sample_name


@dataclass(frozen=True, kw_only=True)
class Sample:
    name: str
    bytes: int
    files: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class ShippedJob:
    name: str
    path: str
    summary: str


def list_samples() -> list[Sample]:
    """The corpora under data/samples by the name that `sample:NAME` takes; notices and code are no corpora."""
    root = package_root("data") / SAMPLES.relative_to("data")
    found: dict[str, list[Path]] = {}
    for path in sorted(root.rglob("*")):
        if path.is_file() and is_corpus(path):
            found.setdefault(sample_name(SAMPLES / path.relative_to(root)), []).append(path)
    return [
        Sample(name=name, bytes=sum(path.stat().st_size for path in paths), files=tuple(map(str, paths)))
        for name, paths in found.items()
    ]


def is_corpus(path: Path) -> bool:
    return path.suffix in {".txt", ".jsonl", ".gz", ".zst", ".bz2", ".parquet"} and not path.name.isupper()


def list_jobs() -> list[ShippedJob]:
    """Every job file of the package with the first comment that says what it is."""
    spec = importlib.util.find_spec("runjob.jobs")
    roots = list(spec.submodule_search_locations or ()) if spec is not None else []
    files = [(Path(root), path) for root in roots for path in sorted(Path(root).rglob("*.yaml"))]
    return [
        ShippedJob(name=path.relative_to(root).with_suffix("").as_posix(), path=str(path), summary=first_sentence(path))
        for root, path in files
    ]


def first_sentence(path: Path) -> str:
    """Of the comment that opens the file, without the editor's line: up to the first full stop that ends a line or
    stands before a space."""
    said: list[str] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        text = line.removeprefix("#").strip()
        if not text.startswith("yaml-language-server"):
            said.append(text)
    sentence, stop, _ = f"{' '.join(said)} ".strip().partition(". ")
    return sentence.rstrip(".") + ("." if stop or sentence else "")
