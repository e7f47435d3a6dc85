"""What to change in a job that ran out of memory, with its own numbers: the settings that cost the least first, and the
global batch, which decides what is learnt, as it was. The worker asks here, and so does the supervisor, whose ranks may
have been killed without a word."""

from typing import Literal

from runjob.schemas.job import Job
from runjob.schemas.job_model import ScratchMPNet, group_of

Where = Literal["training", "evaluation"]


def less_memory(job: Job, *, ranks: int, where: Where) -> tuple[str, ...]:
    """`--set` arguments with what each means; the last ones are always possible."""
    training, length, group = job.training, job.data.sequence_length, group_of(job.objective)
    share = training.global_batch // ranks
    rows = share if training.micro_batch is None else min(training.micro_batch, share)
    found = []
    if where == "evaluation":
        found += _fewer_evaluated(job, rows)
    elif training.micro_tokens is not None:
        if training.micro_tokens > length:
            fewer = max(training.micro_tokens // 2, length)
            found.append(
                f"training.micro_tokens={fewer} (now {training.micro_tokens}; the global batch stays "
                f"{training.global_batch} rows)"
            )
    elif rows > group:
        fewer = max(size for size in range(group, rows, group) if share % size == 0)
        found.append(
            f"training.micro_batch={fewer} (now {rows}; the global batch stays {training.global_batch} rows, on each "
            f"rank in {share // fewer} micro batches instead of {share // rows})"
        )
    if where == "training" and not training.gradient_checkpointing and not isinstance(job.model.init, ScratchMPNet):
        found.append("training.gradient_checkpointing=true (keeps little of each layer and computes it twice)")
    if ranks > 1 and job.hardware.zero < 2:
        found.append(f"hardware.zero=2 (the {ranks} ranks share gradients and optimiser state)")
    shorter = max(length * 3 // 4, 1)
    return (*found, f"data.sequence_length={shorter} (now {length}; other rows, so it needs a new job)")


def _fewer_evaluated(job: Job, rows: int) -> list[str]:
    """Half of what is evaluated at a time, in whole groups."""
    size = job.evaluation.micro_batch
    if size is None and job.training.micro_tokens is not None:
        size = max(job.training.micro_tokens // job.data.sequence_length, 1)
    size = rows if size is None else size
    group = group_of(job.objective)
    half = size // 2 // group * group
    return [f"evaluation.micro_batch={half} (now {size})"] if half else []


def say_less_memory(job: Job, *, run_id: str, ranks: int, where: Where) -> str:
    """The first of them as a command, the others on lines of their own; a new job's length as such."""
    first, *others = less_memory(job, ranks=ranks, where=where)
    lines = [f"  or --set {other}" for other in others]
    begin = f"runjob resume {run_id} --set {first}" if others else f"start it anew with --set {first}"
    return "\n".join([begin, *lines])
