"""A host that is really elsewhere, on this machine: a real sshd in namespaces of its own.

What the host sees of us is what it needs to be a Linux machine with Python: the system's own folders, the interpreter,
and our site-packages without runjob. The checkout, the caller's venv, home and /tmp are hidden from it, so whatever was
not transferred is missing there. Its processes live in a process namespace: when its first process ends, all do, and no
test leaves any behind. `network=True` gives it an address and a cable of its own, which `pull_cable` takes away.

    root of the host, under /var/tmp        seen there as
    home/                                   the home of root
    opt/                                    /opt; /opt/train/bin/python has torch and the rest, without runjob
    sshd/                                   the same path: keys and configuration of the daemon
"""

import contextlib
import os
import random
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cluster.ports import free_port
from tests.conftest import ROOT, wait_until

SSHD = Path("/usr/sbin/sshd")
HIDDEN_ALWAYS = (Path("/tmp"), Path.home(), ROOT, Path(sys.prefix))


@dataclass(frozen=True, kw_only=True)
class SshHost:
    """One such host. `alias` is what `ssh -F config` calls it."""

    root: Path
    alias: str
    address: str
    port: int
    first: int
    """Pid, as seen from here, of the first process of its process namespace."""

    @property
    def home(self) -> Path:
        """The home of its user, seen from here."""
        return self.root / "home"

    @property
    def python(self) -> str:
        return "/opt/train/bin/python"

    def here(self, there: str) -> Path:
        """A path below its home, seen from here."""
        return self.home / Path(there).relative_to(Path.home())

    def run(self, *argv: str, check: bool = True) -> str:
        """A command on that machine, without ssh: what an administrator at its console would do."""
        done = subprocess.run([*self._enter(), *argv], capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0 or not check, done.stdout + done.stderr
        return done.stdout

    def start_sshd(self) -> None:
        log = self.root / "sshd" / "log"
        self.run(str(SSHD), "-f", str(self.root / "sshd" / "config"), "-E", str(log))
        wait_until(self.answers, within_s=60, what=f"sshd at {self.address}:{self.port}; see {log}")

    def kill_sshd(self) -> None:
        """The daemon and every session of it, as if the package were being upgraded in the worst of ways."""
        for pid in self.processes("sshd"):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not self.processes("sshd"), within_s=60, what="every sshd to end")

    def freeze_sshd(self) -> None:
        """It takes connections and never answers: a machine that swaps itself to death."""
        for pid in self.processes("sshd"):
            os.kill(pid, signal.SIGSTOP)

    def thaw_sshd(self) -> None:
        for pid in self.processes("sshd"):
            os.kill(pid, signal.SIGCONT)

    def answers(self) -> bool:
        try:
            with socket.create_connection((self.address, self.port), timeout=1) as connection:
                return connection.recv(4) == b"SSH-"
        except OSError:
            return False

    def processes(self, name: str | None = None) -> list[int]:
        """Pids, as seen from here, of what runs on that machine, but its first process."""
        own = Path(f"/proc/{self.first}/ns/pid_for_children").readlink()
        found = []
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                inside = entry.name.isdecimal() and (entry / "ns" / "pid").readlink() == own
                named = inside and name in (None, (entry / "comm").read_text().strip())
                if named and (entry / "stat").read_text().rpartition(")")[2].split()[0] not in "ZX":
                    found.append(int(entry.name))
        return sorted(pid for pid in found if pid != self.first)

    def commands(self) -> list[str]:
        """What runs on that machine, as command lines."""
        lines = []
        for pid in self.processes():
            with contextlib.suppress(OSError):
                words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
                lines.append(b" ".join(words).decode(errors="replace").strip())
        return lines

    def pull_cable(self) -> None:
        subprocess.run(["ip", "link", "set", self._cable(), "down"], check=True)

    def plug_cable(self) -> None:
        subprocess.run(["ip", "link", "set", self._cable(), "up"], check=True)

    def _cable(self) -> str:
        return f"rj{self.first}"

    def _enter(self) -> list[str]:
        return ["nsenter", "--target", str(self.first), "--mount", "--pid", "--net", "--wdns=/"]


def need_ssh_host() -> None:
    """Skip where there can be no such host."""
    for program, package in ((SSHD, "openssh-server"), (Path("/usr/bin/ssh"), "openssh-client")):
        if not program.exists():
            pytest.skip(f"needs the system package {package}")
    if os.geteuid() != 0:
        pytest.skip("needs root: a mount namespace and a process namespace for the host")


@contextlib.contextmanager
def ssh_host(
    alias: str = "gpu0", *, network: bool = False, rsync: bool = True, env: Mapping[str, str] | None = None
) -> Iterator[SshHost]:
    """A running host. `rsync=False` hides that program there; `env` is the environment of its sessions."""
    root = Path(tempfile.mkdtemp(prefix="rj-", dir="/var/tmp"))
    address = f"10.77.{random.randint(1, 250)}.2" if network else "127.0.0.1"
    write_sshd(root, address, port := free_port(), env or {})
    script = root / "sshd" / "first.sh"
    script.write_text(first_process(root, rsync=rsync))
    flags = ["--mount", "--pid", "--fork", "--mount-proc", "--kill-child", *(["--net"] if network else [])]
    with (root / "sshd" / "first.log").open("wb") as log:
        process = subprocess.Popen(
            ["unshare", *flags, "bash", str(script)], stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/"
        )
    try:
        ready = root / "sshd" / "ready"
        wait_until(ready.exists, within_s=60, what=f"the namespaces of {alias}; see {root}/sshd/first.log")
        (first,) = child_of(process.pid)
        host = SshHost(root=root, alias=alias, address=address, port=port, first=first)
        if network:
            lay_cable(host)
        host.start_sshd()
        yield host
    finally:
        process.kill()  # --kill-child: its child too, and with that everything in the process namespace
        process.wait()
        remove(root)


def child_of(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def write_sshd(root: Path, address: str, port: int, env: Mapping[str, str]) -> None:
    folder = root / "sshd"
    for each in (folder, root / "home", root / "opt" / "train" / "bin", root / "opt" / "train" / "lib"):
        each.mkdir(parents=True)
    for key in ("host_key", "id"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / key)], check=True)
    shutil.copy(folder / "id.pub", folder / "authorized_keys")
    sets = [f"SetEnv {name}={value}" for name, value in env.items()]
    lines = [
        f"Port {port}",
        f"ListenAddress {address}",
        f"HostKey {folder}/host_key",
        f"PidFile {folder}/pid",
        f"AuthorizedKeysFile {folder}/authorized_keys",
        "StrictModes no",
        "UsePAM no",
        "PasswordAuthentication no",
        "KbdInteractiveAuthentication no",
        "PermitRootLogin prohibit-password",
        "UseDNS no",
        "PrintMotd no",
        "MaxSessions 50",
        "MaxStartups 50:30:100",
        "Subsystem sftp internal-sftp",
        *sets,
    ]
    (folder / "config").write_text("\n".join(lines) + "\n")


def first_process(root: Path, *, rsync: bool) -> str:
    """The script that is process 1 of the host: hides ours, shows its own, and then reaps orphans for ever."""
    site = Path(sysconfig.get_paths()["purelib"])
    interpreter = Path(sys.base_prefix)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    inside = root / "opt" / "train" / "lib" / version / "site-packages"
    quoted = {name: shlex.quote(str(value)) for name, value in locals().items() if isinstance(value, Path)}
    lines = [
        "set -euo pipefail",
        # The interpreter and the packages, before what they lie in is hidden
        f"mkdir -p {quoted['inside']} {quoted['root']}/interpreter",
        f"mount --rbind {quoted['interpreter']} {quoted['root']}/interpreter",
        f"mount --bind {quoted['site']} {quoted['inside']}",
        f"cd {quoted['inside']}",
        "for one in __editable__*runjob*; do [ -f $one ] && mount --bind /dev/null $one; done",
        "for one in runjob runjob-*.dist-info; do if [ -d $one ]; then mount -t tmpfs none $one; fi; done",
        "cd /",
        *(f"mount -t tmpfs -o mode=1777 none {shlex.quote(str(path))}" for path in hidden(HIDDEN_ALWAYS)),
        f"mkdir -p {shlex.quote(str(Path.home()))}",
        f"mount --bind {quoted['root']}/home {shlex.quote(str(Path.home()))}",
    ]
    if any(interpreter.is_relative_to(path) for path in HIDDEN_ALWAYS):
        lines += [
            f"mkdir -p {quoted['interpreter']}",
            f"mount --rbind {quoted['root']}/interpreter {quoted['interpreter']}",
        ]
    binary = shlex.quote(str(interpreter / "bin" / version))
    lines += [
        f"printf 'home = %s/bin\\nversion = {sys.version.split()[0]}\\n' {quoted['interpreter']} "
        f"> {quoted['root']}/opt/train/pyvenv.cfg",
        f"ln -s {binary} {quoted['root']}/opt/train/bin/python",
        f"ln -s python {quoted['root']}/opt/train/bin/python3",
    ]
    lines += [f"mount --rbind {quoted['root']}/opt /opt"]
    if not rsync:
        lines += ["if [ -e /usr/bin/rsync ]; then mount --bind /dev/null /usr/bin/rsync; fi"]
    lines += [
        "ip link set lo up",
        "mkdir -p /run/sshd",
        f"touch {quoted['root']}/sshd/ready",
        "trap : TERM HUP INT",
        # bash, as process 1, reaps whatever becomes its child
        "while :; do sleep 3600 & wait $! || :; done",
    ]
    return "\n".join(lines) + "\n"


def hidden(paths: tuple[Path, ...]) -> list[Path]:
    """Without those that lie in another of them; the home comes with a folder of its own."""
    wanted = [path for path in dict.fromkeys(paths) if path != Path.home()]
    return [path for path in wanted if not any(path != other and path.is_relative_to(other) for other in paths)]


def lay_cable(host: SshHost) -> None:
    """A pair of network interfaces, one end there."""
    cable, other = f"rj{host.first}", f"rjp{host.first}"
    near = host.address.rpartition(".")[0] + ".1/30"
    for words in (
        f"link add {cable} type veth peer name {other}",
        f"link set {other} netns {host.first}",
        f"addr add {near} dev {cable}",
        f"link set {cable} up",
    ):
        subprocess.run(["ip", *words.split()], check=True)
    host.run("ip", "addr", "add", f"{host.address}/30", "dev", other)
    host.run("ip", "link", "set", other, "up")


def remove(root: Path) -> None:
    """Mounts were the namespace's and went with it; the last process may need a moment."""
    deadline = time.monotonic() + 10
    while root.exists() and time.monotonic() < deadline:
        shutil.rmtree(root, ignore_errors=True)
        time.sleep(0.05)


def write_client(folder: Path, *hosts: SshHost, strict: bool = True) -> Path:
    """A user's ssh configuration that knows these hosts by name and by key."""
    folder.mkdir(parents=True, exist_ok=True)
    known = folder / "known_hosts"
    config = folder / "config"
    lines, keys = [], []
    for host in hosts:
        identity = folder / f"id_{host.alias}"
        shutil.copy(host.root / "sshd" / "id", identity)
        identity.chmod(0o600)
        keys.append(f"{host.alias} {(host.root / 'sshd' / 'host_key.pub').read_text()}")
        lines += [
            f"Host {host.alias}",
            f"  HostName {host.address}",
            f"  Port {host.port}",
            "  User root",
            f"  HostKeyAlias {host.alias}",
            f'  IdentityFile "{identity}"',
            "  IdentitiesOnly yes",
            f'  UserKnownHostsFile "{known}"',
            "  GlobalKnownHostsFile /dev/null",
            *([] if strict else ["  StrictHostKeyChecking no"]),
        ]
    known.write_text("".join(keys))
    config.write_text("\n".join(lines) + "\n")
    return config
