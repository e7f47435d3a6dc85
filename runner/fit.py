"""The largest micro batch that fits a memory, with the global batch as it is; and where none fits, what else would."""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from runjob.runner.compile import cut_batch
from runjob.runner.memory_estimate import Memory, estimate_memory
from runjob.schemas.batch_rule import batch_problem
from runjob.schemas.errors import MissingError
from runjob.schemas.job import Job
from runjob.schemas.job_model import ScratchMPNet, group_of
from runjob.schemas.plan import Resources


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A job with other values at these `--set` paths, and what it takes."""

    sets: tuple[str, ...]
    job: Job
    memory: Memory
    rows: int

    def takes(self) -> int:
        """Of what is asked about: a GPU's memory where there is one, else a machine's."""
        return self.memory.device_bytes or self.memory.main_bytes


@dataclass(frozen=True, kw_only=True)
class Fit:
    """`now`: the job as it is; `best` None: not even one row at a time fits; `larger`: the next one, which doesn't,
    None where the best takes a rank's whole share; `others`: changes by which a row at a time would fit."""

    limit: int
    now: Candidate
    best: Candidate | None
    larger: Candidate | None
    others: tuple[Candidate, ...]


def find_fit(job: Job, resources: Resources, *, limit: int) -> Fit:
    """`limit` in bytes. MissingError where the network's sizes can't be known."""
    ranks = resources.nodes * resources.ranks_per_node
    larger = None
    for candidate in micro_batches(job, resources, ranks):
        if candidate.takes() <= limit:
            return Fit(limit=limit, now=as_it_is(job, resources), best=candidate, larger=larger, others=())
        larger = candidate
    others = tuple(one for one in other_ways(job, resources, ranks) if one.takes() <= limit)
    return Fit(limit=limit, now=as_it_is(job, resources), best=None, larger=larger, others=others)


def micro_batches(job: Job, resources: Resources, ranks: int) -> Iterator[Candidate]:
    """From a rank's whole share down to a row. By tokens any number of rows is possible, by rows what divides it."""
    share, group = job.training.global_batch // ranks, group_of(job.objective)
    length = job.data.sequence_length
    for rows in range(share, 0, -1):
        if job.training.micro_tokens is not None:
            yield candidate(job, resources, rows, {"training.micro_tokens": rows * length})
        elif rows % group == 0 and batch_problem(job.training.global_batch, rows, ranks, group=group) is None:
            yield candidate(job, resources, rows, {"training.micro_batch": rows})


def other_ways(job: Job, resources: Resources, ranks: int) -> Iterator[Candidate]:
    """A row at a time (a group of rows that stay together), and the settings that save memory: each alone, the cheapest
    first, then all that came before together."""
    budget = job.training.micro_tokens is not None
    least = group_of(job.objective)
    row: dict[str, object] = (
        {"training.micro_tokens": job.data.sequence_length} if budget else {"training.micro_batch": least}
    )
    together = dict(row)
    for change in savings(job, ranks):
        yield candidate(job, resources, least, {**row, **change})
        together |= change
        if len(together) > len(row) + len(change):
            yield candidate(job, resources, least, together)


def savings(job: Job, ranks: int) -> Iterator[dict[str, object]]:
    hardware = job.hardware
    if not job.training.gradient_checkpointing and not masks_of_mpnet(job):
        yield {"training.gradient_checkpointing": True}
    if ranks > 1:
        for stage in range(max(hardware.zero + 1, 2), 3 if job.training.compile else 4):
            yield {"hardware.zero": stage}
    if hardware.device == "cuda" and hardware.offload.optimizer == "none":
        yield {"hardware.zero": max(hardware.zero, 1), "hardware.offload.optimizer": "cpu"}


def masks_of_mpnet(job: Job) -> bool:
    """transformers can't compute MPNet's layers a second time; objective plm has its own way through them."""
    return isinstance(job.model.init, ScratchMPNet) and job.objective.kind == "mlm"


def as_it_is(job: Job, resources: Resources) -> Candidate:
    batch = cut_batch(job, ranks=resources.nodes * resources.ranks_per_node)
    tokens = job.training.micro_tokens
    rows = batch.micro_batch if tokens is None else max(tokens // job.data.sequence_length, 1)
    return candidate(job, resources, rows, {})


def candidate(job: Job, resources: Resources, rows: int, changes: dict[str, object]) -> Candidate:
    changed = put(job, changes)
    batch = cut_batch(changed, ranks=resources.nodes * resources.ranks_per_node)
    memory = estimate_memory(changed, batch, ranks_per_node=resources.ranks_per_node)
    if memory is None:
        raise MissingError(
            "how much memory this network takes is unknown: neither the job nor a file here says its sizes (a local "
            "copy's config.json would), or its family was never measured"
        )
    sets = tuple(f"{path}={str(value).lower()}" for path, value in changes.items())
    return Candidate(sets=sets, job=changed, memory=memory, rows=rows)


def put(job: Job, changes: dict[str, object]) -> Job:
    """The job with other values at these paths."""
    changed = job
    for path, value in changes.items():
        changed = _put(changed, path.split("."), value)
    return changed


def _put(section: Any, names: list[str], value: object) -> Any:  # noqa: ANN401 - any section of the job
    first, *rest = names
    inner = _put(getattr(section, first), rest, value) if rest else value
    return dataclasses.replace(section, **{first: inner})
