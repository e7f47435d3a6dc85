"""A real Slurm of two nodes on this machine: munged, slurmctld, and two slurmd that are really elsewhere.

Each node is a mount and process namespace of its own: the checkout, the caller's virtual environment, home and /tmp are
not there, only the system, an interpreter with the packages but without runjob, and the one folder that all share. So
whatever was not transferred is missing. Every file lies under one short folder of /tmp (a Unix socket's path has 107
characters at most); every process asks the kernel for SIGKILL at its parent's death, so that a killed pytest leaves
none.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from runjob.schemas.lifeline import set_parent_death_signal
from runjob.schemas.processes import descendants
from tests.cluster.ports import free_ports
from tests.conftest import ROOT, clean_environment, wait_until

DAEMONS = ("munged", "slurmctld", "slurmd", "sbatch")
NODES = ("node1", "node2")
SBIN = "/usr/sbin:/usr/bin:/sbin:/bin"

CONF = """\
ClusterName=tests
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
# a requeued job is held until its credential has expired: 121 s by default, and 5 is the least that is taken. Never
# hurried with StartTime=now: a start in the second in which the old credential was revoked is refused with it.
AuthInfo=socket={folder}/munge.sock,cred_expire=5
CredType=cred/munge
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/slurmd.%n.log
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
SwitchType=switch/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/filetxt
JobCompLoc={folder}/jobcomp.txt
SlurmdParameters=config_overrides
PropagateResourceLimits=NONE
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
# a new cluster counts from 1 again, and nobody should take one of its jobs for an earlier cluster's
FirstJobId={first_job}
MaxJobId=67000000
MinJobAge=300
ReturnToService=2
KillWait=20
OverTimeLimit=0
SlurmctldTimeout=60
SlurmdTimeout={slurmd_timeout}
MessageTimeout=10
TreeWidth=16
GresTypes=gpu
"""
NODE = "NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs=4 RealMemory=8192 Gres=gpu:2\n"
PARTITIONS = """\
PartitionName=main Nodes=ALL Default=YES MaxTime=1-0 State=UP PriorityTier=10 GraceTime=30 DefMemPerCPU=256
PartitionName=high Nodes=ALL Default=NO MaxTime=1-0 State=UP PriorityTier=20 DefMemPerCPU=256 PreemptMode=OFF
"""

# What a node sees, made inside its own namespaces: $1 the cluster's folder, $2 the packages, $3 the interpreter's
# installation, the rest what is hidden. Descriptors keep hold of what the hiding would cover.
MAKE_NODE = """\
set -e
mount --make-rprivate /
exec 7<"$1" 8<"$2" 9<"$3"
cluster=$1 packages=$1/packages base=$3
shift 3
for hidden in "$@"; do [ ! -d "$hidden" ] || mount -t tmpfs tmpfs "$hidden"; done
mkdir -p "$cluster" "$base"
mount --no-canonicalize --bind /proc/self/fd/7 "$cluster"
mount --no-canonicalize --bind /proc/self/fd/8 "$packages"
[ -e "$base/bin" ] || mount --no-canonicalize --bind /proc/self/fd/9 "$base"
exec 7<&- 8<&- 9<&-
echo ready
while :; do sleep 3600 & wait $!; done
"""


@dataclass
class Node:
    """One node: the first process of its namespaces, and its slurmd."""

    name: str
    namespaces: "subprocess.Popen[str]"
    slurmd: "subprocess.Popen[bytes] | None" = None

    @property
    def init(self) -> int:
        """The pid, seen from here, of the process that holds the namespaces."""
        return descendants(self.namespaces.pid)[0].pid

    def enter(self, *argv: str) -> list[str]:
        return ["nsenter", "--target", str(self.init), "--mount", "--pid", "--", *argv]

    def kill_slurmd(self) -> None:
        """SIGKILL of slurmd alone: what it started lives on, as Slurm means it to."""
        assert self.slurmd is not None
        for process in descendants(self.slurmd.pid):
            if name_of(process.pid) == "slurmd":
                os.kill(process.pid, signal.SIGKILL)
        self.slurmd.wait(timeout=10)

    def pids(self, name: str) -> list[int]:
        """Processes of jobs on this node that go by this name."""
        return [process.pid for process in descendants(self.init) if name_of(process.pid) == name]

    def end(self) -> None:
        """Everything on the node is gone at once, as after a power cut."""
        self.namespaces.kill()
        self.namespaces.wait()
        if self.slurmd is not None:
            self.slurmd.wait(timeout=10)


def name_of(pid: int) -> str:
    file = Path(f"/proc/{pid}/comm")
    return file.read_text().strip() if file.exists() else ""


@dataclass
class Cluster:
    """`env` is what a command on the login machine needs; `python` is the interpreter of the nodes."""

    folder: Path
    nodes: dict[str, Node] = field(default_factory=dict)
    daemons: dict[str, "subprocess.Popen[bytes]"] = field(default_factory=dict)

    @property
    def shared(self) -> Path:
        return self.folder / "shared"

    @property
    def python(self) -> str:
        return str(self.folder / "env" / "bin" / "python")

    @property
    def env(self) -> Mapping[str, str]:
        return {**clean_environment(), "SLURM_CONF": str(self.folder / "slurm.conf")}

    def run(self, *argv: str) -> str:
        done = subprocess.run(argv, env=self.env, capture_output=True, text=True, timeout=30, check=False)
        assert done.returncode == 0, f"{argv}: {done.stdout}{done.stderr}"
        return done.stdout.strip()

    def daemon(self, name: str, *argv: str) -> "subprocess.Popen[bytes]":
        log = (self.folder / "log" / f"{name}.out").open("ab")
        process = subprocess.Popen(
            argv,
            env={**self.env, "PATH": SBIN},
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            preexec_fn=set_parent_death_signal,
        )
        log.close()
        return process

    def start_controller(self) -> None:
        conf = str(self.folder / "slurm.conf")
        self.daemons["slurmctld"] = self.daemon("slurmctld", "slurmctld", "-D", "-f", conf)

    def stop_controller(self) -> None:
        controller = self.daemons.pop("slurmctld")
        controller.terminate()
        controller.wait(timeout=15)

    def start_node(self, name: str) -> None:
        """The namespaces of a node where they are not there, and its slurmd."""
        if name not in self.nodes or self.nodes[name].namespaces.poll() is not None:
            self.nodes[name] = Node(name, make_namespaces(self.folder))
        node = self.nodes[name]
        argv = node.enter("slurmd", "-D", "-N", name, "-f", str(self.folder / "slurm.conf"))
        node.slurmd = self.daemon(f"slurmd.{name}", *argv)

    def wait_for_nodes(self) -> None:
        wait_until(self._idle, within_s=30, what="both nodes to be idle")

    def _idle(self) -> bool:
        answer = subprocess.run(
            ["sinfo", "-h", "-p", "main", "-N", "-o", "%T"], env=self.env, capture_output=True, text=True, check=False
        )
        return answer.stdout.split() == ["idle"] * len(NODES)

    def empty(self) -> None:
        """No job is left, and both nodes are as they were: the next test finds the cluster of the first."""
        if "slurmctld" not in self.daemons:
            self.start_controller()
        wait_until(self._answers, within_s=60, what="slurmctld to answer")
        subprocess.run(["scancel", "--full", "--signal=KILL", "--user", "root"], env=self.env, check=False)
        self.run("scancel", "--user", "root")
        for name in NODES:
            slurmd = self.nodes[name].slurmd
            if self.nodes[name].namespaces.poll() is not None or slurmd is None or slurmd.poll() is not None:
                self.start_node(name)
        self.wait_for_nodes()

    def _answers(self) -> bool:
        return subprocess.run(["scontrol", "ping"], env=self.env, capture_output=True, check=False).returncode == 0

    def jobs(self) -> dict[str, str]:
        """Slurm id -> state, of every job that Slurm still knows."""
        listing = self.run("squeue", "--noheader", "--states=all", "--format=%i|%T")
        return dict(line.split("|") for line in listing.splitlines())

    def end(self) -> None:
        for node in self.nodes.values():
            node.end()
        for process in reversed(self.daemons.values()):
            process.kill()  # nothing of it is to be kept
            process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


def make_namespaces(folder: Path) -> "subprocess.Popen[str]":
    """The namespaces of one node, held by a process that reaps orphans as an init does."""
    base = str(Path(sys.base_prefix).resolve())
    hidden = [str(ROOT), str(Path(sys.prefix).resolve()), str(Path.home()), "/tmp"]
    own = ("unshare", "--mount", "--pid", "--fork", "--kill-child=SIGKILL", "--mount-proc")
    process = subprocess.Popen(
        [*own, "bash", "-c", MAKE_NODE, "node", str(folder), sysconfig.get_path("purelib"), base, *hidden],
        cwd="/",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=set_parent_death_signal,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.stdout.close()
    return process


def make_interpreter(folder: Path) -> None:
    """An environment of the nodes' own: the packages of ours, linked one by one, and runjob not among them."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder / "env")], check=True)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    site = folder / "env" / "lib" / version / "site-packages"
    (folder / "packages").mkdir()
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        if "runjob" not in entry.name:
            (site / entry.name).symlink_to(folder / "packages" / entry.name)


def write_configuration(folder: Path, *, slurmd_timeout: int) -> None:
    host = socket.gethostname().split(".")[0]
    ports = free_ports(1 + len(NODES))
    first_job = 1000 + int(time.time()) % 1_000_000
    text = CONF.format(
        host=host, port=ports[0], user="root", folder=folder, first_job=first_job, slurmd_timeout=slurmd_timeout
    )
    nodes = [NODE.format(name=name, host=host, port=port) for name, port in zip(NODES, ports[1:], strict=True)]
    (folder / "slurm.conf").write_text(text + "".join(nodes) + PARTITIONS)
    # One link to /dev/null for each GPU: a count alone registers none.
    for number in range(2):
        (folder / f"gpu{number}").symlink_to("/dev/null")
    (folder / "gres.conf").write_text(f"AutoDetect=off\nName=gpu File={folder}/gpu[0-1]\n")


def start_cluster(*, slurmd_timeout: int = 10) -> Cluster:
    folder = Path(tempfile.mkdtemp(prefix="sl", dir="/tmp"))
    folder.chmod(0o755)
    cluster = Cluster(folder=folder)
    with contextlib.ExitStack() as unless_up:
        unless_up.callback(cluster.end)
        raise_daemons(cluster, slurmd_timeout=slurmd_timeout)
        unless_up.pop_all()
    return cluster


def raise_daemons(cluster: Cluster, *, slurmd_timeout: int) -> None:
    folder = cluster.folder
    for name in ("log", "state", "shared", *(f"spool.{node}" for node in NODES)):
        (folder / name).mkdir()
    key = folder / "munge.key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o400)
    make_interpreter(folder)
    write_configuration(folder, slurmd_timeout=slurmd_timeout)
    socket_path = folder / "munge.sock"
    cluster.daemons["munged"] = cluster.daemon(
        "munged",
        "munged",
        "--foreground",
        "--force",
        f"--key-file={key}",
        f"--socket={socket_path}",
        f"--pid-file={folder}/munged.pid",
        f"--log-file={folder}/log/munged.log",
        f"--seed-file={folder}/munged.seed",
    )
    wait_until(socket_path.exists, within_s=60, what="munged")
    cluster.start_controller()
    for name in NODES:
        cluster.start_node(name)
    cluster.wait_for_nodes()


def needs_slurm() -> str:
    """Why there can't be a cluster here; empty where there can."""
    if any(shutil.which(name, path=f"{SBIN}:{os.environ['PATH']}") is None for name in DAEMONS):
        return "needs the system package slurm-wlm"
    if os.geteuid() != 0:
        return "a private Slurm with namespaces of its own needs root"
    return ""


@pytest.fixture(scope="session")
def whole_cluster() -> Iterator[Cluster]:
    missing = needs_slurm()
    if missing:
        pytest.skip(missing)
    cluster = start_cluster()
    yield cluster
    cluster.end()


@pytest.fixture
def cluster(whole_cluster: Cluster) -> Iterator[Cluster]:
    """The cluster of this worker, empty before and after."""
    yield whole_cluster
    whole_cluster.empty()
