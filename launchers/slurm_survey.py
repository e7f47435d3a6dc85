"""What the nodes of a partition have, asked of sinfo before a run exists, and everything that the job wants of them and
they lack, all at once."""

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from runjob.launchers.slurm_queue import SlurmSilentError, ask
from runjob.launchers.slurm_text import block_of, check_limit, check_path
from runjob.launchers.slurm_words import seconds
from runjob.schemas.errors import LaunchError, MissingError
from runjob.schemas.job import Job
from runjob.schemas.job_hardware import Hardware, Slurm
from runjob.schemas.machine import Machine
from runjob.schemas.quantities import parse_duration, parse_size

FORMAT = "%P|%N|%c|%m|%G|%l"
GPU = re.compile(r"(?:^|,)gpu(?::(?P<type>[A-Za-z0-9_.-]+))?:(?P<count>\d+)")
PROGRAMS = ("sbatch", "srun", "squeue", "scancel", "sinfo", "scontrol")


@dataclass(frozen=True, kw_only=True)
class Node:
    """One row of sinfo: a node as member of a partition (`default` where a job names none). Memory in MiB."""

    partition: str
    default: bool
    name: str
    cores: int
    memory_mib: int
    gpus: tuple[str, ...]
    time_limit: str


def survey(job: Job) -> Machine:
    """One node of the job's partition. MissingError with all that is wrong."""
    slurm = block_of(job.hardware)
    if slurm.folder is not None:
        check_path(slurm.folder, "hardware.slurm.folder", slurm)
    check_limit(slurm.time or job.hardware.time, slurm.signal_before)
    absent = [name for name in PROGRAMS if shutil.which(name) is None]
    if absent:
        raise MissingError(
            f"--launcher slurm: {', '.join(absent)} not found here; type this on a machine of the cluster where sbatch "
            "works, or reach one with --launcher ssh"
        )
    try:
        nodes = parse_sinfo(ask("sinfo", "--noheader", "--Node", "--all", f"--format={FORMAT}"))
        plugin = slurm.container_image is None or "--container-image" in ask("srun", "--help")
    except SlurmSilentError as error:
        raise LaunchError(f"--launcher slurm: {error}") from error
    ours = of_partition(nodes, slurm.partition)
    lines = [*missing_partition(nodes, ours, slurm), *(missing_in(ours, job.hardware, slurm) if ours else ())]
    if not plugin:
        lines.append(
            "hardware.slurm.container_image: this cluster's srun has no --container-image, which Pyxis with Enroot "
            "brings; ask its administrators, or write null and load what is needed with hardware.slurm.setup"
        )
    lines += missing_folder(slurm)
    if lines:
        raise MissingError("\n".join(lines))
    best = max(ours, key=lambda node: (len(node.gpus), node.cores))
    cores = min(slurm.cpus, best.cores) if slurm.cpus is not None else best.cores
    return Machine(cores=cores, gpus=best.gpus, processor="")


def parse_sinfo(text: str) -> list[Node]:
    """
    >>> parse_sinfo("main*|node1|4|8192|gpu:a100:2(S:0-1)|1-00:00:00")[0].gpus
    ('a100', 'a100')
    """
    rows = [line.split("|") for line in text.splitlines() if line.count("|") == 5]
    return [
        Node(
            partition=name.rstrip("*"),
            default=name.endswith("*"),
            name=node,
            cores=int(cores.rstrip("+")),
            memory_mib=int(memory.rstrip("+")),
            gpus=tuple(kind or "gpu" for kind, count in GPU.findall(gres) for _ in range(int(count))),
            time_limit=limit,
        )
        for name, node, cores, memory, gres, limit in rows
    ]


def of_partition(nodes: list[Node], wanted: str | None) -> list[Node]:
    """Nodes of the partitions that the job names (`a,b` is either), else of the cluster's default."""
    names = wanted.split(",") if wanted is not None else []
    return [node for node in nodes if (node.partition in names if names else node.default)]


def missing_partition(nodes: list[Node], ours: list[Node], slurm: Slurm) -> list[str]:
    if ours:
        return []
    there = ", ".join(sorted({node.partition for node in nodes})) or "none"
    if slurm.partition is None:
        return [f"hardware.slurm.partition: this cluster has no default one; there are: {there}"]
    return [f"hardware.slurm.partition: {slurm.partition}: no such partition; there are: {there}"]


def missing_in(nodes: list[Node], hardware: Hardware, slurm: Slurm) -> list[str]:
    """What no node of the partition has, or not enough of them."""
    where = f"the nodes of partition {slurm.partition or nodes[0].partition}"
    lines = []
    gpus, most = hardware.gpus, max(len(node.gpus) for node in nodes)
    if hardware.device == "mps":
        lines.append("hardware.device: mps is Apple's GPU; set it to cpu or cuda")
    wanted = gpus if isinstance(gpus, int) else 1
    if hardware.device == "cuda" and slurm.gres is None and wanted > most:
        lines.append(f"hardware.gpus: the job asks for {gpus} on each node, and {where} have {most or 'none'}")
    if hardware.nodes > len({node.name for node in nodes}):
        lines.append(
            f"hardware.nodes: the job asks for {hardware.nodes}, and there are {len({node.name for node in nodes})} in "
            f"partition {slurm.partition or nodes[0].partition}"
        )
    if slurm.cpus is not None and slurm.cpus > max(node.cores for node in nodes):
        lines.append(f"hardware.slurm.cpus: {slurm.cpus}, and {where} have {max(node.cores for node in nodes)}")
    memory, most_mib = slurm.memory or hardware.memory, max(node.memory_mib for node in nodes)
    if memory is not None and parse_size(memory) > most_mib * 2**20:
        field = "hardware.slurm.memory" if slurm.memory else "hardware.memory"
        lines.append(f"{field}: {memory}, and {where} have {most_mib} MiB")
    limit, longest = slurm.time or hardware.time, [seconds(node.time_limit) for node in nodes]
    if limit is not None and None not in longest and parse_duration(limit) > max(filter(None, longest), default=0):
        field = "hardware.slurm.time" if slurm.time else "hardware.time"
        lines.append(f"{field}: {limit}, and partition {nodes[0].partition} allows {nodes[0].time_limit}")
    return lines


def missing_folder(slurm: Slurm) -> list[str]:
    """The shared folder must be one that can be written here; that the nodes see it, only they can say."""
    if slurm.folder is None:
        return []
    try:
        Path(slurm.folder).mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        return [f"hardware.slurm.folder: {slurm.folder} can't be made here: {error.strerror}"]
    return []
