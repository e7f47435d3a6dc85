"""What ssh is told whatever the user's configuration says."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from runjob.launchers.shell import run_to_end, start_here
from runjob.launchers.ssh_target import SshTarget, private_folder


def test_a_lax_configuration_switches_no_check_of_the_host_key_off(tmp_path: Path):
    config = tmp_path / "config"
    config.write_text("Host *\n  StrictHostKeyChecking no\n  NoHostAuthenticationForLocalhost yes\n")
    target = SshTarget(host="localhost", config_file=str(config))
    said = run_to_end(start_here([*target.ssh(), "-G", "--", target.host]), timeout_s=20).out.decode().splitlines()
    assert "nohostauthenticationforlocalhost no" in said
    assert "stricthostkeychecking true" in said


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory for temporary files whose name leaves room for a socket's."""
    folder = Path(tempfile.mkdtemp(prefix="r", dir="/tmp"))
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    shutil.rmtree(folder)


def test_sockets_lie_in_a_folder_that_nobody_else_can_look_into(short: Path):
    folder = private_folder()
    assert folder == short / f".runjob-{os.getuid()}"
    assert folder.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("planted", ["open", "link"])
def test_a_folder_that_somebody_else_may_have_made_is_not_taken(short: Path, planted: str):
    place = short / f".runjob-{os.getuid()}"
    if planted == "open":
        place.mkdir()
        place.chmod(0o755)
    else:
        (short / "elsewhere").mkdir(mode=0o700)
        place.symlink_to(short / "elsewhere")
    assert private_folder() is None
