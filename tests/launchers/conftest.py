"""No process outlives a test of the launchers, also where the test failed."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from runjob.launchers.kill import kill_everything
from runjob.schemas.errors import LaunchError
from runjob.schemas.run import RunDir


@pytest.fixture(autouse=True)
def end_of_supervisors(tmp_path: Path) -> Iterator[None]:
    yield
    for handle in tmp_path.rglob("handle.json"):
        with contextlib.suppress(LaunchError):
            kill_everything(RunDir(handle.parent))
