"""The job files that the package brings along, and what each of them needs."""

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from runjob.schemas.read import Resolved

# Minutes on two quiet cores, data and export included (docs/journal.md, 2026-11-21 and 22; modernbert_student
# with one thread). A larger job's time is its GPUs', which `runjob plan` estimates.
MINUTES = {
    "tiny/canine_domains": 4.5,
    "tiny/gpt2_dutch": 2.0,
    "tiny/modernbert_student": 6.4,
    "tiny/paleo_dapt": 2.7,
}


@dataclass(frozen=True, kw_only=True)
class ShippedJob:
    name: str
    path: str
    summary: str


def list_jobs() -> list[ShippedJob]:
    """Every job file of the package with the first comment that says what it is."""
    return [
        ShippedJob(name=path.relative_to(root).with_suffix("").as_posix(), path=str(path), summary=first_sentence(path))
        for root in _folders()
        for path in sorted(root.rglob("*.yaml"))
    ]


def files() -> list[Path]:
    return [path for root in _folders() for path in sorted(root.rglob("*.yaml"))]


def find_job(name: str) -> Path:
    """`tiny/gpt2_dutch`: where its file lies."""
    return next(path for root in _folders() if (path := root / f"{name}.yaml").is_file())


def _folders() -> list[Path]:
    spec = importlib.util.find_spec("runjob.jobs")
    return list(map(Path, spec.submodule_search_locations or ())) if spec is not None else []


def needs_of(resolved: "Resolved") -> tuple[str, ...]:
    """What must be at hand before this job can run: GPUs, names on the Hub, files of yours. Nothing of a tiny one."""
    from runjob.runner.local_files import missing_data_files
    from runjob.runner.needs import named_on_hub

    place = resolved.job.hardware
    gpus = ["a GPU" if place.gpus == 1 else f"GPUs ({place.gpus})"] if place.device == "cuda" else []
    names = ", ".join(dict.fromkeys(named_on_hub(resolved.job)))
    hub = [f"from the Hub {names}"] if names else []
    yours = ["data of your own" for _ in missing_data_files(resolved)][:1]
    return (*gpus, *hub, *yours)


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
