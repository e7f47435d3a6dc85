"""The machines that moto only books: each one is booted here as a host that is really elsewhere (sshd_host.py), from
what it was rented with. Its sshd has the host key of the user data and nobody's key but the rented one's, its watchdog
is the user data's and runs, its `shutdown` ends it as Amazon would, and terminating it takes its power away.
"""

import base64
import contextlib
import json
import shlex
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.cluster.ec2 import Amazon
from tests.cluster.sshd_host import SshHost, ssh_host

POLL_S = 0.1
# Where the image has Python with the packages, for hardware.aws.python
PYTHON = "/opt/train/bin/python"


@dataclass
class Machines:
    """`config` is the user's ssh configuration: it leads the public addresses to where the machines really are."""

    aws: Amazon
    folder: Path
    hosts: dict[str, SshHost] = field(default_factory=dict)
    powers: dict[str, contextlib.ExitStack] = field(default_factory=dict)
    # A machine of a type named here has another key than the one that it was given
    impostor: bool = False
    boots: bool = True
    stop: threading.Event = field(default_factory=threading.Event)

    @property
    def config(self) -> Path:
        return self.folder / "users_ssh_config"

    def write_config(self) -> None:
        """An address that nobody has (yet) is refused at once instead of being looked for on the Internet."""
        lines = []
        for machine in self.aws.live():
            if machine["InstanceId"] in self.hosts:
                port = self.hosts[machine["InstanceId"]].port
                lines += [f"Host {machine['PublicIpAddress']}", "  HostName 127.0.0.1", f"  Port {port}"]
        lines += ["Host 54.*", "  HostName 127.0.0.1", "  Port 1", ""]
        beside = self.config.with_suffix(".new")
        beside.write_text("\n".join(lines))
        beside.replace(self.config)

    def watch(self) -> None:
        while not self.stop.wait(POLL_S):
            live = {machine["InstanceId"]: machine for machine in self.aws.live()}
            for name in [name for name in self.powers if name not in live]:
                self.hosts.pop(name)
                self.powers.pop(name).close()
            for name, host in list(self.hosts.items()):
                if (host.root / "ended").exists():
                    self.aws.ec2.terminate_instances(InstanceIds=[name])
            for name, machine in live.items():
                if name not in self.powers and self.boots:
                    self.boot(name, machine)

    def boot(self, name: str, machine: dict[str, Any]) -> None:
        power = contextlib.ExitStack()
        host = power.enter_context(ssh_host(name))
        self.powers[name] = power
        data = self.aws.ec2.describe_instance_attribute(InstanceId=name, Attribute="userData")["UserData"]["Value"]
        config = json.loads(base64.b64decode(data).decode().removeprefix("#cloud-config\n"))
        keys = self.aws.ec2.describe_key_pairs(KeyNames=[machine["KeyName"]], IncludePublicKey=True)["KeyPairs"]
        host.kill_sshd()
        if not self.impostor:
            (host.root / "sshd" / "host_key").write_text(config["ssh_keys"]["ed25519_private"])
            (host.root / "sshd" / "host_key.pub").write_text(config["ssh_keys"]["ed25519_public"])
        (host.root / "sshd" / "authorized_keys").write_text(keys[0]["PublicKey"] + "\n")
        power.enter_context(first_start(host, config))
        host.start_sshd()
        self.hosts[name] = host
        self.write_config()

    def only(self) -> SshHost:
        (host,) = self.hosts.values()
        return host


@contextlib.contextmanager
def first_start(host: SshHost, config: dict[str, Any]) -> Iterator[None]:
    """What cloud-init would do with the user data, and systemd with the unit in it."""
    tools = host.root / "tools"
    tools.mkdir()
    said = shlex.quote(str(host.root / "shutdown.said"))
    ended = shlex.quote(str(host.root / "ended"))
    (tools / "shutdown").write_text(f'#!/bin/sh\necho "$@" >> {said}\n[ "$2" != now ] || touch {ended}\n')
    (tools / "shutdown").chmod(0o755)
    unit = ""
    for file in config["write_files"]:
        if file["path"].startswith("/opt/"):
            path = host.root / file["path"].lstrip("/")
            path.parent.mkdir(exist_ok=True)
            path.write_text(file["content"])
        elif file["path"].endswith(".service"):
            unit = file["content"]
    env = {"PATH": f"{tools}:/usr/bin:/bin"}
    for command in config["runcmd"]:
        if command[0] == "shutdown":
            host.run(str(tools / "shutdown"), *command[1:])
    (line,) = [line for line in unit.splitlines() if line.startswith("ExecStart=")]
    walls = ["nsenter", "--target", str(host.first), "--mount", "--pid", "--net", "--wdns=/"]
    words = [*walls, *shlex.split(line.removeprefix("ExecStart="))]
    watchdog = subprocess.Popen(words, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        watchdog.kill()
        watchdog.wait()


@contextlib.contextmanager
def machines(aws: Amazon, folder: Path) -> Iterator[Machines]:
    """Whatever is rented meanwhile boots within about a second."""
    running = Machines(aws=aws, folder=folder)
    running.write_config()
    thread = threading.Thread(target=running.watch, daemon=True)
    thread.start()
    try:
        yield running
    finally:
        running.stop.set()
        thread.join(30)
        deadline = time.monotonic() + 30
        while running.powers and time.monotonic() < deadline:
            running.powers.popitem()[1].close()
