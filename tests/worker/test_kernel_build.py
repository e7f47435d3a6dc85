"""The kernels' library: built once and found again, by whoever comes; a kill, a broken compiler or none leave nothing
behind that a later run would wait for."""

import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.chaos.damage import DAMAGES
from runjob.runner.worker.exchange import Exchange
from runjob.runner.worker.kernels.build import key_of, library
from runjob.runner.worker.kernels.choice import choose_kernels
from runjob.schemas.errors import MissingError
from runjob.schemas.read import read_job
from tests.conftest import ROOT, Home, Processes, clean_environment, wait_until

BUILD = "from runjob.runner.worker.kernels.build import library; print(library()._name)"
needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="needs the system package g++")


def files(home: Home) -> list[str]:
    """But for locks and sums."""
    found = (home.cache / "kernels").iterdir()
    return sorted(path.name for path in found if path.suffix not in (".lock", ".sha256"))


def compiler(home: Home, text: str) -> dict[str, str]:
    """A program that calls itself g++, in the environment as the compiler."""
    program = home.path / "c++"
    program.write_text(f'#!/bin/sh\nif [ "$1" = --version ]; then exec g++ --version; fi\n{text}\n')
    program.chmod(0o755)
    return {"CXX": str(program)}


# An empty library, which takes no time to build
QUICK = 'echo built >> built; exec g++ -shared -o "$8" -xc++ /dev/null'


@needs_compiler
def test_two_ranks_that_come_at_once_build_one_library_and_the_next_finds_it(home: Home, processes: Processes) -> None:
    both = [processes.start(sys.executable, "-c", BUILD, env=compiler(home, f"sleep 0.5; {QUICK}")) for _ in range(2)]
    (name,) = {process.communicate(timeout=60)[0].strip() for process in both}
    again = processes.start(sys.executable, "-c", BUILD, env=compiler(home, "exit 9"))
    assert again.communicate(timeout=60)[0].strip() == name
    assert files(home) == [Path(name).name]
    assert (home.path / "built").read_text() == "built\n"


@needs_compiler
def test_a_build_that_is_killed_is_waited_for_by_nobody(home: Home, processes: Processes) -> None:
    slow = compiler(home, ': > "$8"; echo begun > begun; sleep 600')
    killed = processes.start(sys.executable, "-c", BUILD, env=slow)
    wait_until((home.path / "begun").exists, within_s=60, what="the compiler to begin")
    processes.kill(killed.pid)
    again = processes.start(sys.executable, "-c", BUILD, env=compiler(home, QUICK))
    built = Path(again.communicate(timeout=60)[0].strip())
    assert again.returncode == 0 and built.name in files(home)


@needs_compiler
@pytest.mark.parametrize("damage", ["one bit", "half", "empty"])
def test_a_damaged_library_is_built_again_and_never_loaded(home: Home, processes: Processes, damage: str) -> None:
    def build() -> Path:
        process = processes.start(sys.executable, "-c", BUILD, env=compiler(home, QUICK))
        return Path(process.communicate(timeout=60)[0].strip())

    whole = build().read_bytes()
    build().write_bytes(DAMAGES[damage](whole, random.Random(damage)))
    # the linker's work is the same, so the same bytes are there again
    assert build().read_bytes() == whole
    assert (home.path / "built").read_text() == "built\n" * 2


@needs_compiler
def test_another_compiler_builds_another_library(home: Home) -> None:
    mine = key_of(compiler(home, QUICK)["CXX"])
    assert mine == key_of("g++")
    (home.path / "newer").write_text("#!/bin/sh\necho g++ 99\n")
    (home.path / "newer").chmod(0o755)
    assert key_of(str(home.path / "newer")) != mine


@pytest.fixture
def fresh() -> Iterator[None]:
    """What a process has loaded it would find again."""
    library.cache_clear()
    yield
    library.cache_clear()


def wants(*sets: str):
    return read_job(ROOT / "jobs" / "tiny" / "gpt2_dutch.yaml", ["training.precision=bf16", *sets]).job


@pytest.fixture
def bare(home: Home, monkeypatch) -> Path:
    """A PATH without a compiler."""
    folder = home.path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("RUNJOB_CACHE", str(home.cache))
    return folder


@pytest.mark.usefixtures("fresh", "bare")
def test_without_a_compiler_torchs_own_operations_serve_and_it_is_said(exchange: Exchange) -> None:
    chosen = choose_kernels(wants(), exchange)
    lacking = "the fused kernels want a C++ compiler, and g++ is not found here (apt-get install g++)"
    assert chosen.facts() == {"kernels": "torch", "kernels_why": lacking}
    assert chosen.unbuilt
    assert chosen.advice == f"{lacking}; attention, dropout and norms are torch's own, which are right and slower"
    with pytest.raises(MissingError) as refused:
        choose_kernels(wants("training.kernels=fused"), exchange)
    assert str(refused.value) == f"training.kernels: {lacking}; write auto or torch to do without"


@pytest.mark.usefixtures("fresh")
def test_a_compiler_that_fails_and_a_cache_that_is_none_are_named(home: Home, bare: Path, exchange: Exchange) -> None:
    program = bare / "g++"
    program.write_text("#!/bin/sh\necho 'cc1plus: no such option' >&2\nexit 1\n")
    program.chmod(0o755)
    chosen = choose_kernels(wants(), exchange)
    assert chosen.why_not == f"{program} can't build the kernels: cc1plus: no such option"
    assert files(home) == []
    shutil.rmtree(home.cache)
    home.cache.write_text("a file")
    assert "Not a directory" in str(choose_kernels(wants(), exchange).why_not)


@needs_compiler
@pytest.mark.usefixtures("kernels")
def test_what_a_job_says_decides_before_any_compiler(exchange: Exchange) -> None:
    assert choose_kernels(wants(), exchange).facts() == {"kernels": "fused", "kernels_why": None}
    assert choose_kernels(wants("training.kernels=fused"), exchange).why_not is None
    for value, why in {
        "training.kernels=torch": "training.kernels is torch",
        "training.precision=fp32": "the kernels compute in bf16, and training.precision is fp32",
        "training.compile=true": "the kernels are not for training.compile, which makes its own",
    }.items():
        chosen = choose_kernels(wants(value), exchange)
        assert chosen.why_not == why and not chosen.unbuilt


@needs_compiler
def test_the_kernels_share_the_threads_of_torch(tmp_path_factory: pytest.TempPathFactory) -> None:
    """One OpenMP runtime in the process, torch's own: two would keep two pools of threads that wait for work. (Seen
    in a process of its own: libraries that other tests ask for bring one too.)"""
    shared = tmp_path_factory.getbasetemp().parent / "kernels"
    # as a worker does: torch first
    program = f"import runjob.runner.worker.train; {BUILD}; print(open('/proc/self/maps').read())"
    environment = {**clean_environment(), "RUNJOB_CACHE": str(shared), "DS_ACCELERATOR": "cpu"}
    said = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    lines = said.stdout.splitlines()
    loaded = {line.split()[-1] for line in lines if "libgomp" in line or "libomp" in line}
    assert len(loaded) == 1 and "/torch/" in loaded.pop()
    assert any(lines[0] in line for line in lines[1:]), "the kernels are in that process"
