"""What ssh is told whatever the user's configuration says."""

from pathlib import Path

from runjob.launchers.shell import run_to_end, start_here
from runjob.launchers.ssh_target import SshTarget


def test_a_lax_configuration_switches_no_check_of_the_host_key_off(tmp_path: Path):
    config = tmp_path / "config"
    config.write_text("Host *\n  StrictHostKeyChecking no\n  NoHostAuthenticationForLocalhost yes\n")
    target = SshTarget(host="localhost", config_file=str(config))
    said = run_to_end(start_here([*target.ssh(), "-G", "--", target.host]), timeout_s=20).out.decode().splitlines()
    assert "nohostauthenticationforlocalhost no" in said
    assert "stricthostkeychecking true" in said
