"""`hardware` as typed, frozen values: what the work needs, and one closed block for each launcher that goes elsewhere.

The same names, types and choices as hardware.schema.json; defaults stand there alone.
"""

from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True, kw_only=True)
class Offload:
    optimizer: Literal["none", "cpu"]
    parameters: Literal["none", "cpu"]


@dataclass(frozen=True, kw_only=True)
class Slurm:
    """Null fields are left to the cluster, or to the fields of `hardware` that say the same for every launcher."""

    partition: str | None
    account: str | None
    qos: str | None
    reservation: str | None
    gres: str | None
    cpus: int | None
    memory: str | None
    time: str | None
    constraint: str | None
    exclude: str | None
    array_parallelism: int | None
    signal_before: int
    node_failure_retries: int
    container_image: str | None
    folder: str | None
    python: str | None
    setup: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Ssh:
    host: tuple[str, ...]
    config_file: str | None
    folder: str
    python: str | None
    setup: tuple[str, ...]
    data: Literal["stage", "remote"]
    checkpoints: Literal["newest", "all", "none"]
    master_address: str | None
    master_port: int


@dataclass(frozen=True, kw_only=True)
class Aws:
    instance: str
    max_hours: float
    budget_usd: float | None
    price_usd_hour: float | None
    tokens_per_s: float | None
    keep: bool
    spot: bool
    spot_retries: int
    region: str | None
    zones: tuple[str, ...]
    image: str | None
    user: str
    disk_gib: int
    subnet: str | None
    from_address: str | None
    instance_profile: str | None
    idle_minutes: int
    config_file: str | None
    folder: str
    python: str | None
    setup: tuple[str, ...]
    checkpoints: Literal["newest", "all", "none"]


@dataclass(frozen=True, kw_only=True)
class Hardware:
    device: Literal["cpu", "cuda", "mps"]
    gpus: int | Literal["all"] | None
    ranks: int | None
    threads: int | None
    nodes: int
    memory: str | None
    time: str | None
    zero: Literal[0, 1, 2, 3]
    offload: Offload
    deepspeed: dict[str, Any]
    slurm: Slurm | None
    ssh: Ssh | None
    aws: Aws | None
