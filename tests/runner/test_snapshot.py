"""The frozen code of a run is the code that runs, and holds nothing that is not ours."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from runjob.runner.snapshot import freeze, package_files, package_root
from runjob.runner.worker.kernels.build import HEADERS, SOURCES
from runjob.schemas.run import RunDir


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    return RunDir.create(tmp_path, "frozen")


def test_a_run_imports_its_frozen_code_also_from_an_editable_installation(run: RunDir):
    freeze(run, samples=())
    program = "import runjob.data, runjob.schemas.job, runjob.runner.cli as c; print(runjob.data.__file__, c.__file__)"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(run.code), "PYTHONSAFEPATH": "1"},
        cwd=package_root("data").parent,
        capture_output=True,
        text=True,
        check=True,
    )
    for file in done.stdout.split():
        assert Path(file).is_relative_to(run.code), file


def test_a_later_edit_of_the_sources_does_not_reach_the_frozen_code(run: RunDir):
    freeze(run, samples=())
    source = package_root("schemas") / "run.py"
    copy = run.code / "runjob" / "schemas" / "run.py"
    assert copy.read_bytes() == source.read_bytes()
    assert not copy.is_symlink()
    assert copy.stat().st_ino != source.stat().st_ino


def test_only_sources_and_schemas_are_frozen(run: RunDir):
    freeze(run, samples=())
    suffixes = {path.suffix for path in run.code.rglob("*") if path.is_file()}
    # launchers/constraints.txt: the versions of an environment on another machine
    assert suffixes <= {".py", ".json", ".cpp", ".h", ".txt"}
    names = {path.relative_to(run.code / "runjob").as_posix() for path in (run.code / "runjob").rglob("*.json")}
    assert "schemas/job.schema.json" in names
    # the kernels are built by the run that uses them
    built_of = {path.name for path in (run.code / "runjob" / "runner" / "worker" / "kernels").iterdir()}
    assert {*SOURCES, *HEADERS} <= built_of
    assert not [name for name in names if name.startswith("data/")]
    assert not list(run.code.rglob("__pycache__"))


def test_secrets_links_and_strangers_beside_the_sources_stay_where_they_are(tmp_path: Path):
    """The package copied to a folder of its own, with planted files, and frozen by an interpreter that sees only it."""
    site = tmp_path / "site" / "runjob"
    for relative, source in package_files(()):
        (site / relative).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, site / relative)
    planted = [
        "data/.env",
        "data/key.pem",
        "data/account.json",
        "runner/.secret.py",
        "data/samples/mine.txt",
        "data/a.csv",
    ]
    for name in planted:
        (site / name).write_text("PLANTED-SECRET")
    (site / "data" / "link.py").symlink_to("/etc/hostname")
    (site / "data" / "samples" / "dutch.txt").write_text("een twee")
    program = (
        "import sys; from pathlib import Path\n"
        "from runjob.runner.snapshot import freeze; from runjob.schemas.run import RunDir\n"
        "import runjob.runner.snapshot as s; assert s.__file__.startswith(sys.argv[1]), s.__file__\n"
        "freeze(RunDir(Path(sys.argv[2])), samples=('dutch',))\n"
    )
    run = RunDir.create(tmp_path / "runs", "frozen")
    env = {**os.environ, "PYTHONPATH": str(tmp_path / "site"), "PYTHONSAFEPATH": "1"}
    subprocess.run([sys.executable, "-c", program, str(site), str(run.path)], env=env, check=True)
    package = run.code / "runjob"
    frozen = {path.relative_to(package).as_posix() for path in package.rglob("*") if path.is_file()}
    assert not frozen & {*planted, "data/link.py"}
    assert "data/samples/dutch.txt" in frozen


def test_the_frozen_code_says_what_it_is(run: RunDir):
    freeze(run, samples=())
    facts = json.loads((run.code / "CODE.json").read_text())
    digest = hashlib.sha256()
    files = sorted(path for path in (run.code / "runjob").rglob("*") if path.is_file())
    for path in sorted(files, key=lambda path: path.relative_to(run.code / "runjob")):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        digest.update(f"{path.relative_to(run.code / 'runjob').as_posix()} {content}\n".encode())
    assert facts["sha256"] == digest.hexdigest()
    assert facts["files"] == len(files)
    if shutil.which("git") and (package_root("schemas").parent / ".git").exists():
        assert len(facts["commit"]) == 40
