"""What the kernel counts explains a SIGKILL, and nothing else."""

from pathlib import Path

import pytest

from runjob.launchers.kernel import VMSTAT, count_oom_kills, tell_oom_kills
from runjob.launchers.outcome import outcome_of
from runjob.schemas.run import Attempt


def test_the_count_is_read_from_the_kernels_own_file(tmp_path: Path) -> None:
    (tmp_path / "vmstat").write_text("nr_free_pages 12\noom_kill 3\nnuma_hit 7\n")
    assert count_oom_kills(tmp_path / "vmstat") == 3
    (tmp_path / "vmstat").write_text("nr_free_pages 12\n")
    assert count_oom_kills(tmp_path / "vmstat") is None
    assert count_oom_kills(tmp_path / "none") is None


def test_this_kernels_own_count_is_told() -> None:
    kept = dict(line.split() for line in VMSTAT.read_text().splitlines())
    assert count_oom_kills() == int(kept["oom_kill"])


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [(3, 4, "killed a process"), (3, 5, "killed 2 processes"), (3, 3, ""), (None, None, ""), (3, None, "")],
)
def test_only_a_count_that_rose_is_evidence(before: int | None, after: int | None, said: str) -> None:
    told = tell_oom_kills(before, after)
    assert said in told
    assert bool(told) == bool(said)


@pytest.mark.parametrize(("code", "blamed"), [(-9, True), (137, True), (1, False), (-11, False)])
def test_memory_is_blamed_for_a_sigkill_alone(tmp_path: Path, code: int, blamed: bool) -> None:
    (tmp_path / "1").mkdir()
    state, message = outcome_of(Attempt(tmp_path / "1"), "train", code, kernel="the kernel killed a process")
    assert state == "failed"
    assert ("the kernel killed a process" in message) is blamed
