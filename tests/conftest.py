"""What every test may lean on: a private home, the installed `runjob` as a real process, and no process left behind.

`home` is a directory with its own RUNJOB_HOME and cache and an environment free of the caller's tracking, hub and
cluster variables; `runjob` runs the console script in it; `processes` ends what a test started, however the test ended.
"""

import functools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SCRIPT = Path(sys.executable).parent / "runjob"
# Prefixes of variables by which the caller's own set-up would reach into a test.
FOREIGN = (
    "HF_",
    "HUGGING",
    "TRANSFORMERS_",
    "WANDB_",
    "MLFLOW_",
    "SLURM_",
    "RUNJOB_",
    "TORCHELASTIC_",
    "DS_",
    "PYTEST_",
)
# torchrun's and the shell's own; a rank that inherits them believes itself part of another job.
FOREIGN_NAMES = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "OMP_NUM_THREADS", "PYTHONPATH")

Runjob = Callable[..., "subprocess.CompletedProcess[str]"]


@dataclass(frozen=True, kw_only=True)
class Home:
    """A place of one test: `path` is the working directory, `runs` RUNJOB_HOME, `env` the whole environment."""

    path: Path
    runs: Path
    cache: Path
    env: Mapping[str, str]


def clean_environment() -> dict[str, str]:
    """The caller's environment without what would make a test depend on the caller; the venv's tools first on PATH."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(FOREIGN) and key not in FOREIGN_NAMES}
    # Tests run side by side: a thread that spins while it waits would take the other one's core.
    ours = {
        "OMP_WAIT_POLICY": "passive",
        "PATH": f"{SCRIPT.parent}{os.pathsep}{kept['PATH']}",
        "HF_HUB_OFFLINE": "1",
        "NO_COLOR": "1",
    }
    return {**kept, **ours}


def make_home(folder: Path) -> Home:
    """A home of its own under `folder`, its environment cleaned of the caller's."""
    path, runs, cache = folder / "here", folder / "runs", folder / "cache"
    for each in (path, runs, cache):
        each.mkdir()
    # XDG_CONFIG_HOME: the caller's own site file must not fill in what a job leaves out.
    places = {"RUNJOB_HOME": str(runs), "RUNJOB_CACHE": str(cache), "XDG_CONFIG_HOME": str(folder / "config")}
    return Home(path=path, runs=runs, cache=cache, env=clean_environment() | places)


def run_script(
    home: Home,
    *arguments: str | Path,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    timeout_s: float = 300,
    script: Path = SCRIPT,
) -> "subprocess.CompletedProcess[str]":
    """The installed console script in this home, to its end, whatever the exit code."""
    return subprocess.run(
        [str(script), *map(str, arguments)],
        env={**home.env, **(env or {})},
        cwd=cwd or home.path,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return make_home(tmp_path)


@pytest.fixture
def runjob(home: Home) -> Runjob:
    """`runjob("validate", path)` runs the installed console script and returns how it ended."""
    return functools.partial(run_script, home)


@dataclass
class Processes:
    """Processes of one test. Whatever carries this test's RUNJOB_HOME in its environment is found too: supervisors
    detach themselves, so being a child says nothing."""

    home: Home
    started: list["subprocess.Popen[str]"] = field(default_factory=list)

    def start(self, *argv: str | Path, env: Mapping[str, str] | None = None) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            list(map(str, argv)),
            env={**self.home.env, **(env or {})},
            cwd=self.home.path,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.started.append(process)
        return process

    def alive(self) -> list[int]:
        """Pids of every living process of this test, detached ones included (Linux: read from /proc)."""
        entries = [entry for entry in Path("/proc").iterdir() if entry.name.isdecimal()]
        found = [int(entry.name) for entry in entries if _belongs(entry, self.home.runs)]
        return sorted(pid for pid in found if pid != os.getpid())

    def kill(self, *pids: int, within_s: float = 30) -> None:
        """SIGKILL, then wait until they are gone (a zombie that nobody reaps counts as gone)."""
        for pid in pids:
            _kill(pid)
        wait_until(lambda: not set(pids) & set(self.alive()), within_s=within_s, what=f"processes {pids} to end")

    def end_all(self) -> None:
        deadline = time.monotonic() + 30
        while (living := self.alive()) and time.monotonic() < deadline:
            for pid in living:
                _kill(pid)
            time.sleep(0.05)
        for process in self.started:
            process.kill()
            process.communicate()


@pytest.fixture
def processes(home: Home) -> Iterator[Processes]:
    """Start, find and kill processes; none outlives the test."""
    table = Processes(home=home)
    yield table
    table.end_all()


def wait_until(true: Callable[[], bool], *, what: str | Callable[[], str], within_s: float = 20) -> None:
    """Poll until `true()`; a test that waited in vain fails with what it waited for, and how it is by then where `what`
    is asked for it."""
    deadline = time.monotonic() + within_s
    while not true():
        if time.monotonic() > deadline:
            pytest.fail(f"waited {within_s:g} s in vain for {what if isinstance(what, str) else what()}")
        time.sleep(0.02)


@pytest.fixture(name="wait_until")
def wait_until_fixture() -> Callable[..., None]:
    return wait_until


def rewrite(file: Path, **values: object) -> None:
    """Other values in a small file of a run, and no sum of itself: as from the time before such files carried one."""
    raw = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps({**{key: value for key, value in raw.items() if key != "sha256"}, **values}))


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below by its name from there."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _belongs(entry: Path, runs: Path) -> bool:
    """Does a living process name this test's runs, in its environment or its arguments? A zombie names nothing, a
    stranger's environment cannot be read."""
    try:
        environment = (entry / "environ").read_bytes().split(b"\0")
        return f"RUNJOB_HOME={runs}".encode() in environment or str(runs).encode() in (entry / "cmdline").read_bytes()
    except OSError:
        return False
