"""Freeze the code of a run: copy the running package's own files into RUN/code, so that neither an edit of the checkout
nor an upgrade of the installation reaches a job that was submitted before it.

Only what is named here is copied. A checkout may hold a `.env`, keys or a user's data beside the sources; a list of
what to take can't leak them, a list of what to leave out can.
"""

import importlib.metadata
import importlib.util
import shutil
import subprocess
from collections.abc import Collection, Iterator
from pathlib import Path

from runjob.schemas.errors import RunjobError
from runjob.schemas.frozen import CODE_LIST, SUMS, sum_of
from runjob.schemas.run import RunDir, write_json

# The suffixes that belong to the package, folder by folder. JSON under data/ could be anybody's.
PACKAGES = {
    "schemas": {".py", ".json"},
    "launchers": {".py", ".txt"},
    "data": {".py"},
    "runner": {".py", ".cpp", ".h", ".json"},
}
SAMPLES = Path("data", "samples")


def freeze(run: RunDir, *, samples: Collection[str]) -> None:
    """Copy the package and the named samples into RUN/code/runjob and say in RUN/code/CODE.json what they are."""
    target = run.code / "runjob"
    files = dict(package_files(samples))
    for relative, source in files.items():
        destination = target / relative
        destination.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, destination)
    facts: dict[str, str | int] = {"version": importlib.metadata.version("runjob"), "sha256": sum_of(target)}
    facts |= {"files": len(files), SUMS: True}
    write_json(run.code / CODE_LIST, {**facts, **checkout_facts(package_root("schemas").parent)})


def package_root(name: str) -> Path:
    spec = importlib.util.find_spec(f"runjob.{name}")
    if spec is None or not spec.submodule_search_locations:
        raise RunjobError(f"runjob.{name} is not installed as files; its code can't be frozen into the run")
    return Path(next(iter(spec.submodule_search_locations)))


def package_files(samples: Collection[str]) -> Iterator[tuple[Path, Path]]:
    """(path inside the package, file) for everything that a run needs of us."""
    for name, suffixes in PACKAGES.items():
        root = package_root(name)
        for path in root.rglob("*"):
            relative = Path(name, path.relative_to(root))
            if path.is_symlink() or not path.is_file() or is_hidden(relative):
                continue
            if path.suffix in suffixes or (is_under(relative, SAMPLES) and sample_name(relative) in samples):
                yield relative, path


def is_hidden(relative: Path) -> bool:
    return any(part.startswith(".") or part == "__pycache__" for part in relative.parts)


def is_under(relative: Path, folder: Path) -> bool:
    return relative.parts[: len(folder.parts)] == folder.parts


def sample_name(relative: Path) -> str:
    """`data/samples/dutch.txt.gz` and `data/samples/dutch/part.txt` both belong to the sample `dutch`."""
    return relative.parts[len(SAMPLES.parts)].split(".")[0]


def checkout_facts(root: Path) -> dict[str, str | bool]:
    """The commit of a checkout, and whether its files differ from it; nothing for an installed wheel."""
    git = shutil.which("git")
    if git is None or not (root / ".git").exists():
        return {}
    commit = subprocess.run([git, "-C", str(root), "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    changes = subprocess.run(
        [git, "-C", str(root), "status", "--porcelain", "--", *PACKAGES], capture_output=True, text=True, check=False
    )
    if commit.returncode or changes.returncode:
        return {}
    return {"commit": commit.stdout.strip(), "modified": bool(changes.stdout.strip())}
