"""Job -> Plan, purely: the same job and machine always give the same plan, nothing is touched or asked. What a plan
can't know before the data are prepared (steps of `3 epochs`) it says, with the command that makes it known."""

from fractions import Fraction

from runjob.runner.computation import full_step, work_of
from runjob.runner.deepspeed_config import deepspeed_config
from runjob.runner.estimate import count_parameters
from runjob.schemas.batch_rule import batch_problem
from runjob.schemas.errors import JobError
from runjob.schemas.facts import Facts
from runjob.schemas.job import Job
from runjob.schemas.job_data import streamed
from runjob.schemas.job_hardware import Hardware
from runjob.schemas.job_model import group_of
from runjob.schemas.machine import Machine
from runjob.schemas.plan import RUN_ENVIRONMENT, Batch, Companion, Plan, Resources, Stage

# glibc gives pages back to the kernel after each step and faults them in again: with both thresholds high, steps here
# were 1.4 to 4 times faster. 32 MiB is the largest mmap threshold that every glibc takes.
ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": str(32 * 2**20), "MALLOC_TRIM_THRESHOLD_": str(2**33)}
# Where rows are all as long the same blocks come in each step, and those above 32 MiB (the logits: 206 MB) need no new
# pages either: 13 % of GPT-2's rate, the same losses and peak. Rows that differ leave holes: 2.4 GB grew to 3.8.
ALLOCATOR_OF_EVEN_ROWS = {"MALLOC_MMAP_MAX_": "0"}
# A save must end before torchrun kills its ranks; 30 s is torchrun's default and too short for a large model.
STOP_DEADLINE_S = 600
# For the last checkpoint and the model of a large network over a slow line; a second `cancel` doesn't wait for it
UPLOAD_FINISH_S = 1800
# `gpus: all` planned on a machine without any: shown for a g5.12xlarge, and said; it can't be started there
ASSUMED_GPUS = 4


def compile_job(job: Job, machine: Machine, *, facts: Facts | None = None) -> Plan:
    """The plan of a job on a machine; `facts` where its data have been prepared."""
    resources = share_out(job.hardware, machine)
    batch = cut_batch(job, ranks=resources.ranks_per_node * resources.nodes)
    tokens_per_step = full_step(job, batch)
    steps, unknown = count_steps(job, batch, tokens_per_step, facts)
    if job.hardware.gpus == "all" and not machine.gpus:
        unknown += (f"GPUs of the machine that will run it: none here, shown for {ASSUMED_GPUS}",)
    if streamed(job.data):
        unknown += ("tokens of an epoch: where a stream ends is known when it has been read to there",)
    return Plan(
        name=job.name,
        resources=resources,
        batch=batch,
        stages=(prepare_stage(), train_stage(job, resources)),
        deepspeed=deepspeed_config(job, batch),
        steps=steps,
        tokens_per_step=tokens_per_step,
        parameters=count_parameters(job),
        unknown=unknown,
        stop_deadline_s=STOP_DEADLINE_S,
        companions=(upload_companion(),) if job.output.remote is not None else (),
        work=work_of(job, batch, facts),
    )


def share_out(hardware: Hardware, machine: Machine) -> Resources:
    """Ranks, GPUs and threads a node. One rank a GPU unless the job says otherwise; on cpu and mps one rank."""
    gpus = gpus_wanted(hardware, machine)
    ranks = hardware.ranks if hardware.ranks is not None else max(gpus, 1)
    return Resources(
        device=hardware.device,
        nodes=hardware.nodes,
        ranks_per_node=ranks,
        gpus_per_node=gpus,
        threads=hardware.threads if hardware.threads is not None else max(machine.cores // ranks, 1),
        memory=hardware.memory,
        time=hardware.time,
    )


def gpus_wanted(hardware: Hardware, machine: Machine) -> int:
    """GPUs a node; `all` is what the machine has, and on a machine without any the four that the plan is shown for."""
    if hardware.device != "cuda":
        return 0
    if hardware.gpus == "all":
        return len(machine.gpus) or ASSUMED_GPUS
    return hardware.gpus if hardware.gpus is not None else 0


def cut_batch(job: Job, *, ranks: int) -> Batch:
    """The global batch over `ranks`, then over micro batches. The rules of schemas hold these for ranks that the job
    names; here they hold for `gpus: all` too."""
    total, micro, tokens = job.training.global_batch, job.training.micro_batch, job.training.micro_tokens
    problem = batch_problem(total, micro, ranks, group=group_of(job.objective))
    if problem is not None:
        raise JobError(f"training.global_batch: {problem}")
    share = total // ranks
    # By tokens: DeepSpeed is told the most micro batches there can be. With fewer than there are (1) its offload to
    # the CPU would take each one's gradient for the whole.
    micro = 1 if micro is None else min(micro, share)
    return Batch(global_batch=total, ranks=ranks, micro_batch=micro, accumulation=share // micro, micro_tokens=tokens)


def count_steps(
    job: Job, batch: Batch, tokens_per_step: int, facts: Facts | None
) -> tuple[int | None, tuple[str, ...]]:
    """Optimiser steps of the whole run, and what stays unknown without the prepared data."""
    length = job.training.length
    differ = job.data.layout == "lines"
    if streamed(job.data) and length.unit == "tokens" and differ:
        return None, (f"steps of {length}: known when training begins, from the rows of the validation side",)
    if facts is None:
        if length.unit == "epochs" or (length.unit == "tokens" and differ):
            return None, (f"steps of {length}: known once the data are prepared (`runjob prepare FILE`)",)
        return length.steps(steps_per_epoch=Fraction(0), tokens_per_step=tokens_per_step), ()
    # as the worker counts (assemble.tokens_per_step): where rows differ in length, by what a step holds on average
    if differ:
        tokens_per_step = max(round(batch.global_batch * facts.tokens / facts.rows), 1)
    steps_per_epoch = Fraction(facts.rows, batch.global_batch)
    return length.steps(steps_per_epoch=steps_per_epoch, tokens_per_step=tokens_per_step), ()


def base_environment(resources: Resources) -> dict[str, str]:
    return {
        **RUN_ENVIRONMENT,
        "OMP_NUM_THREADS": str(resources.threads),
        "TOKENIZERS_PARALLELISM": "true",
        **ALLOCATOR,
    }


def worker_environment(job: Job, resources: Resources) -> dict[str, str]:
    """DS_ACCELERATOR stops DeepSpeed from guessing: never a device chosen silently."""
    return {
        **base_environment(resources),
        **(ALLOCATOR_OF_EVEN_ROWS if resources.device == "cpu" and job.data.layout == "pack" else {}),
        "DS_ACCELERATOR": resources.device,
        **({"CUDA_VISIBLE_DEVICES": ""} if resources.device == "cpu" else {}),
        # cuBLAS is deterministic only with a fixed workspace
        **({"CUBLAS_WORKSPACE_CONFIG": ":4096:8"} if resources.device == "cuda" else {}),
    }


def upload_companion() -> Companion:
    """Copies of the run go to `output.remote` from a process of their own, so that no step waits for the network."""
    argv = ("{python}", "-m", "runjob.runner.worker.upload", "{run}")
    return Companion(name="upload", argv=argv, env=RUN_ENVIRONMENT, finish_s=UPLOAD_FINISH_S)


def prepare_stage() -> Stage:
    """Data before any process group: a tokenisation inside one dies of the collective's timeout. No thread limit:
    tokenising takes all cores."""
    env = {**RUN_ENVIRONMENT, "TOKENIZERS_PARALLELISM": "true"}
    return Stage(name="prepare", argv=("{python}", "-m", "runjob.runner.worker.prepare", "{run}"), env=env)


def meeting_of(nodes: int) -> tuple[str, ...]:
    """How the nodes find each other. Alone, `--standalone` takes a free port; several meet at node 0, where the
    launcher says: a static rendezvous, since who takes part is known beforehand and none may be replaced."""
    if nodes == 1:
        return ("--standalone",)
    return (f"--nnodes={nodes}", "--node-rank={node}", "--master-addr={master}", "--master-port={port}")


def train_stage(job: Job, resources: Resources) -> Stage:
    """torchrun, once a node; its exit code is never trusted (every failure is 1)."""
    argv = (
        "{python}",
        "-m",
        "torch.distributed.run",
        *meeting_of(resources.nodes),
        f"--nproc-per-node={resources.ranks_per_node}",
        f"--shutdown-timeout={STOP_DEADLINE_S}",
        # else it leaves a folder in /tmp for every start
        "--log-dir={run}/.torchrun",
        "--signals-to-handle=SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR1,SIGUSR2",
        "-m",
        "runjob.runner.worker",
        "{run}",
    )
    return Stage(name="train", argv=argv, env=worker_environment(job, resources))
