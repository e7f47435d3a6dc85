"""The short tier of `make chaos`: the same faults, on runs whose training stage is a small program."""

import shutil
import subprocess
from collections.abc import Callable, Mapping

import pytest

from runjob.runner.runs import state_of
from runjob.schemas.manifest import folders_in
from runjob.schemas.run import RunDir
from tests.conftest import ROOT, Home, make_home, run_script, wait_until
from tests.runner.conftest import install_small, plugin, small  # noqa: F401 - fixtures
from tests.small_job import small_job

LOCAL = ("--launcher", "small")


@pytest.fixture(scope="session")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    """A run with two attempts behind it, each ended by SIGKILL after a checkpoint; made once, and left as it is."""
    home = make_home(tmp_path_factory.mktemp("recorded"))
    (home.path / "text.txt").write_text("een twee drie\n", encoding="utf-8")
    (home.path / "small.yaml").write_text(small_job(), encoding="utf-8")
    env = {**install_small(home.path / "site"), "SMALL": "exact-killed"}
    done = run_script(home, home.path / "small.yaml", *LOCAL, "--detach", env=env)
    assert done.returncode == 0, done.stderr
    run = RunDir(home.runs / done.stdout.splitlines()[0])
    wait_until(lambda: state_of(run).state == "lost", what="the first attempt to be killed")
    done = run_script(home, "resume", run.id, *LOCAL, "--detach", env=env)
    assert done.returncode == 0, done.stderr
    wait_until(lambda: state_of(run).state == "lost", what="the second attempt to be killed")
    assert sorted(folders_in(run.checkpoints)) == [5, 10]
    return run


@pytest.fixture
def stopped(recorded: RunDir, home: Home) -> RunDir:
    """A copy of it."""
    shutil.copytree(recorded.path, home.runs / recorded.id)
    return RunDir(home.runs / recorded.id)


@pytest.fixture(scope="session")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Mapping[str, str]]:
    """`shim(CHAOS_NO_LOCKS="1")`: the environment in which a program meets that (benchmarks/chaos/shim.c)."""
    if shutil.which("gcc") is None:
        pytest.skip("needs the system package gcc")
    library = tmp_path_factory.mktemp("shim") / "shim.so"
    source = ROOT / "benchmarks" / "chaos" / "shim.c"
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    return lambda **faults: {"LD_PRELOAD": str(library), **faults}
