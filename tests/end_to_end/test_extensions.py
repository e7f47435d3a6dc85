"""DeepSpeed's extension is built once, whoever was killed while building it."""

import sys

import pytest

from tests.conftest import Home, Processes, wait_until

pytestmark = pytest.mark.slow


def test_a_build_that_was_killed_does_not_make_the_next_one_wait_for_ever(home: Home, processes: Processes) -> None:
    folder = home.path / "extensions"
    stage = (sys.executable, "-m", "runjob.runner.worker.extensions")
    env = {"TORCH_EXTENSIONS_DIR": str(folder), "DS_ACCELERATOR": "cpu"}
    first = processes.start(*stage, env=env)
    wait_until(lambda: any(folder.glob("*/*/lock")), within_s=120, what="the build to begin")
    first.kill()
    first.wait()
    assert any(folder.glob("*/*/lock")), "the killed build leaves torch's mark behind"
    second = processes.start(*stage, env=env)
    said, complaint = second.communicate(timeout=300)
    assert second.returncode == 0, complaint
    assert "building" in said
    third = processes.start(*stage, env=env)
    assert third.communicate(timeout=30)[0] == ""
    assert third.returncode == 0
