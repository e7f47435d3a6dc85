"""What `pip install` gives: the source distribution holds all that a wheel is built of, the wheel all that a job needs,
and the control side runs under each Python that we name."""

import configparser
import functools
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

from tests.conftest import ROOT, clean_environment, run_script
from tests.small_job import small_job

FOLDERS = ("schemas", "launchers", "data", "runner")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
# All that the control side imports of others; yaml is pure Python where its C parser does not fit the interpreter
CONTROL_NEEDS = ("argcomplete", "yaml", "platformdirs")


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def files(pattern: str) -> set[str]:
    return {f"runjob/{name(path)}" for folder in FOLDERS for path in (ROOT / folder).glob(pattern) if path.is_file()}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built as an index gets it: first the source distribution, then a wheel of that alone."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    shutil.copytree(ROOT, source, ignore=shutil.ignore_patterns(".*", "build", "runs", "dist", "tests", "__pycache__"))
    quiet = functools.partial(subprocess.run, env=clean_environment(), capture_output=True, check=True, timeout=120)
    build = f"import setuptools.build_meta as it; it.build_sdist({str(folder)!r})"
    quiet([sys.executable, "-c", build], cwd=source)
    (sdist,) = folder.glob("runjob-*.tar.gz")
    pip = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "--no-index"]
    quiet([*pip, "--wheel-dir", folder, sdist])
    (built,) = folder.glob("runjob-*.whl")
    return built


@pytest.fixture(scope="module")
def unpacked(wheel: Path) -> Path:
    folder = wheel.parent / "unpacked"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def test_a_wheel_holds_every_room_and_its_facts(wheel: Path, unpacked: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        held = set(archive.namelist())
    assert {entry.split("/")[0] for entry in held if ".dist-info/" not in entry} == {"runjob"}
    wanted = files("**/*.py") | files("*.json") | files("samples/*") | files("**/*.cpp") | files("**/*.h")
    wanted |= files("**/py.typed") | files("constraints.txt")
    wanted |= {f"runjob/{name(path)}" for path in ROOT.glob("jobs/**/*.yaml")}
    assert wanted - held == set()
    (info,) = unpacked.glob("*.dist-info")
    assert (info / "licenses" / "LICENSE").read_text(encoding="utf-8").lstrip().startswith("Apache License")
    scripts = configparser.ConfigParser()
    scripts.read(info / "entry_points.txt")
    assert dict(scripts["console_scripts"]) == {"runjob": "runjob.runner.cli:main"}
    facts = (info / "METADATA").read_text(encoding="utf-8")
    assert "License-Expression: Apache-2.0\n" in facts
    assert "Description-Content-Type: text/markdown\n" in facts
    assert (ROOT / "README.md").read_text(encoding="utf-8").strip() in facts
    assert {f"Classifier: {one}" for one in PROJECT["classifiers"]} <= set(facts.splitlines())
    assert {f"Provides-Extra: {one}" for one in PROJECT["optional-dependencies"]} <= set(facts.splitlines())


def test_a_source_distribution_holds_no_run_and_no_environment(wheel: Path) -> None:
    (sdist,) = wheel.parent.glob("runjob-*.tar.gz")
    with tarfile.open(sdist) as archive:
        tops = {Path(member.name).parts[1] for member in archive if len(Path(member.name).parts) > 1}
    assert tops >= {"pyproject.toml", "README.md", "LICENSE", "schemas", "launchers", "data", "runner", "jobs"}
    assert tops & {"runs", "dist", "build", ".venv", ".links"} == set()


def test_every_python_that_is_named_is_one_that_is_tested() -> None:
    named = {one.rpartition(" ")[2] for one in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", one)}
    assert named == set(PYTHONS[:-1])


# The last is of the control side alone: on a laptop that submits to a cluster; training is tried on the first
PYTHONS = ("3.11", "3.12", "3.13")
CONTROL = """
import compileall, importlib, pathlib, sys
root = pathlib.Path(sys.argv[1]) / "runjob"
assert compileall.compile_dir(root, quiet=1), "does not compile"
for folder in ("schemas", "launchers", "runner"):
    for path in sorted((root / folder).rglob("*.py")):
        words = path.relative_to(root.parent).with_suffix("").parts
        if "worker" not in words and words[-1] not in ("__main__", "bar", "questions"):
            importlib.import_module(".".join(words))
from runjob.runner.cli import main
for words in (["validate", *sys.argv[2:]], ["plan", sys.argv[2]], ["--help"], ["ps"]):
    assert main(words) == 0, words
"""


def interpreter(version: str) -> str:
    """One that is on the PATH or that pyenv has; the test is skipped where there is none."""
    beside = sorted(Path("~/.pyenv/versions").expanduser().glob(f"{version}.*/bin/python"))
    for program in (shutil.which(f"python{version}"), *map(str, beside)):
        if program is None:
            continue
        asked = subprocess.run([program, "-c", "import sys; print(sys.version)"], capture_output=True, text=True)
        if asked.returncode == 0 and asked.stdout.startswith(version):
            return program
    pytest.skip(f"no Python {version} is at hand")


@pytest.mark.parametrize("version", PYTHONS)
def test_the_control_side_runs_under_each_python(version, unpacked, home, tmp_path) -> None:
    program = interpreter(version)
    for package in CONTROL_NEEDS:
        (tmp_path / "needs" / package).parent.mkdir(exist_ok=True)
        (tmp_path / "needs" / package).symlink_to(Path(sysconfig.get_path("purelib")) / package)
    env = {**home.env, "PYTHONPATH": f"{unpacked}{os.pathsep}{tmp_path / 'needs'}", "PYTHONSAFEPATH": "1"}
    jobs = sorted(map(str, (unpacked / "runjob" / "jobs").rglob("*.yaml")))
    argv = [program, "-W", "error", "-c", CONTROL, str(unpacked), *jobs]
    done = subprocess.run(argv, env=env, cwd=home.path, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    assert "\njob " in done.stdout or done.stdout.startswith("job ")


@pytest.mark.slow
def test_a_job_runs_from_an_installed_wheel(wheel, home, processes, tmp_path) -> None:
    """In an environment that holds runjob alone. What it depends on is lent by a path to the packages of the one that
    runs the tests, since torch takes minutes to install; that one's own runjob is not found so."""
    venv.create(tmp_path / "venv", symlinks=True)
    python = tmp_path / "venv" / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-deps", "--no-index", wheel]
    subprocess.run(pip, env=home.env, check=True, timeout=120)
    (site,) = (tmp_path / "venv" / "lib").glob("python3*/site-packages")
    (site / "lent.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    (home.path / "text.txt").write_text(
        "".join(f"Paragraaf {number} is er een van velen.\n\n" for number in range(300))
    )
    (home.path / "small.yaml").write_text(small_job(more="tracking: {tensorboard: false}\n"))
    sets = ["--set", "data.documents=paragraph", "--set", "training.length=3 steps"]
    done = run_script(home, "small.yaml", *sets, script=python.with_name("runjob"))
    assert done.returncode == 0, done.stdout + done.stderr
    (run,) = home.runs.iterdir()
    assert (run / "model" / "model.safetensors").exists()
    assert str(python) in (run / "attempts" / "1" / "supervisor.log").read_text()
