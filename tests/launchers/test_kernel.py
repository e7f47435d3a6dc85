"""What the kernel counts explains a SIGKILL, and nothing else."""

from pathlib import Path

import pytest

from runjob.launchers.kernel import VMSTAT, count_group_oom_kills, count_oom_kills, killed_by_kernel, tell_oom_kills
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


@pytest.mark.parametrize(("killed", "said"), [(1, "killed a process"), (2, "killed 2 processes"), (0, ""), (None, "")])
def test_only_a_count_that_rose_is_evidence(killed: int | None, said: str) -> None:
    told = tell_oom_kills(killed)
    assert said in told
    assert bool(told) == bool(said)


@pytest.mark.parametrize(("code", "blamed"), [(-9, True), (137, True), (1, False), (-11, False)])
def test_memory_is_blamed_for_a_sigkill_alone(tmp_path: Path, code: int, blamed: bool) -> None:
    (tmp_path / "1").mkdir()
    state, message = outcome_of(Attempt(tmp_path / "1"), "train", code, kernel="the kernel killed a process")
    assert state == "failed"
    assert ("the kernel killed a process" in message) is blamed


@pytest.mark.parametrize(
    ("own", "file"),
    [
        ("0::/user/job", "user/job/memory.events"),
        ("9:name=systemd:/\n4:cpu,memory:/user/job\n0::/", "memory/user/job/memory.oom_control"),
        ("4:memory:/docker/0123abcd\n", "memory/memory.oom_control"),
    ],
    ids=["version 2", "version 1", "version 1 in a container"],
)
def test_the_count_of_the_own_control_group_is_found(tmp_path: Path, own: str, file: str) -> None:
    (tmp_path / "cgroup").write_text(own)
    assert count_group_oom_kills(tmp_path / "cgroup", tmp_path / "groups") is None
    events = tmp_path / "groups" / file
    events.parent.mkdir(parents=True)
    events.write_text("low 0\nunder_oom 0\noom_kill 2\noom_group_kill 0\n")
    assert count_group_oom_kills(tmp_path / "cgroup", tmp_path / "groups") == 2


@pytest.mark.parametrize(
    ("text", "killed"),
    [
        ("Out of memory: Killed process 812 (python3) total-vm:1kB, anon-rss:1kB", (812,)),
        ("Memory cgroup out of memory: Killed process 2220 (python) total-vm:1kB", (2220,)),
        ("oom_reaper: reaped process 812 (python3), now anon-rss:0kB", ()),
        ("process 812 says: out of memory, killed", ()),
    ],
)
def test_the_kernels_log_names_whom_it_killed_and_when(tmp_path: Path, text: str, killed: tuple[int, ...]) -> None:
    (tmp_path / "kmsg").write_text(f"3,1042,9000000,-;{text}\n")
    assert killed_by_kernel(8.0, tmp_path / "kmsg") == killed
    assert killed_by_kernel(10.0, tmp_path / "kmsg") == ()
    assert killed_by_kernel(0.0, tmp_path / "none") is None
