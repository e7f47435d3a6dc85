"""The job files that the package brings along."""

import importlib.util
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class ShippedJob:
    name: str
    path: str
    summary: str


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
