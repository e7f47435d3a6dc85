"""What a new machine reads at its first start (cloud-init): the host key that we expect of it, and its watchdog.

cloud-init's YAML is written as JSON, which is YAML too and leaves nothing to quote.
"""

import json
from pathlib import Path

from runjob.launchers import aws_watchdog
from runjob.launchers.aws_keys import HostKey
from runjob.schemas.job_hardware import Aws

WATCHDOG = "/opt/runjob/watchdog.py"
STATE = "/opt/runjob/began"
UNIT = "/etc/systemd/system/runjob-watchdog.service"
# An image without apt is the user's own affair.
INSTALL = """command -v apt-get >/dev/null || exit 0
export DEBIAN_FRONTEND=noninteractive
apt-get -o DPkg::Lock::Timeout=300 update
apt-get -o DPkg::Lock::Timeout=300 install -y "$@"
"""
PACKAGES = ("python3-venv", "python3-dev", "g++", "rsync")
# The kernel's own timer, set before anything else: it holds where python3 or the unit does not start.
BELT_MINUTES = 10
MOST_BYTES = 16_384


def user_data(settings: Aws, host_key: HostKey) -> str:
    hours, idle = settings.max_hours * 3600, settings.idle_minutes * 60
    arguments = [f"{hours:.0f}", f"{idle:.0f}", f"{max(min(30.0, idle / 4), 0.1):g}", STATE]
    config = {
        "ssh_deletekeys": True,
        "ssh_genkeytypes": [],
        "ssh_keys": {"ed25519_private": host_key.private, "ed25519_public": host_key.public},
        "write_files": [
            {"path": WATCHDOG, "permissions": "0755", "content": watchdog_text()},
            {"path": UNIT, "permissions": "0644", "content": unit_text(arguments)},
        ],
        "runcmd": [
            ["shutdown", "-h", f"+{settings.max_hours * 60 + BELT_MINUTES:.0f}"],
            *(install_lines() if settings.python is None else []),
            ["systemctl", "daemon-reload"],
            ["systemctl", "enable", "--now", Path(UNIT).name],
        ],
    }
    text = f"#cloud-config\n{json.dumps(config)}\n"
    assert len(text) <= MOST_BYTES, f"user data of {len(text)} bytes: EC2 takes {MOST_BYTES}"
    return text


def install_lines() -> list[list[str]]:
    """Where runjob makes the environment: Ubuntu's Python comes without venv, DeepSpeed compiles some of its parts. By
    `packages` cloud-init would install them before the first of our commands: a mirror that does not answer would
    hold up what ends the machine."""
    return [["sh", "-c", INSTALL, "sh", *PACKAGES]]


def watchdog_text() -> str:
    return Path(aws_watchdog.__file__).read_text(encoding="utf-8")


def unit_text(arguments: list[str]) -> str:
    """Started again whenever it ends, also by the kernel for want of memory."""
    lines = ["[Unit]", "Description=ends this machine when runjob needs it no more", "[Service]"]
    lines += [f"ExecStart=/usr/bin/python3 -I {WATCHDOG} {' '.join(arguments)}"]
    lines += ["Restart=always", "RestartSec=5", "OOMScoreAdjust=-1000", "[Install]", "WantedBy=multi-user.target", ""]
    return "\n".join(lines)
