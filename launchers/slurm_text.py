"""A plan in sbatch's words. submitit writes the text; here stands what of the job goes where, and why."""

import dataclasses
import math
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from runjob.launchers.slurm_words import WARNING_EARLY_S
from runjob.schemas.errors import JobError
from runjob.schemas.job_hardware import Hardware, Slurm
from runjob.schemas.plan import Plan, Stage
from runjob.schemas.quantities import parse_duration, parse_size

# torchrun ends its ranks on each signal that it handles, and dies of those of Slurm's that it doesn't ignore. The
# launcher ignores them for it; torchrun's own handlers must not bring them back.
HANDLED = "--signals-to-handle="
HARMLESS = "SIGQUIT"


def for_slurm(plan: Plan) -> Plan:
    """The same plan where torchrun leaves Slurm's signals to the launcher."""
    return dataclasses.replace(plan, stages=tuple(map(_deaf, plan.stages)))


def quoted(word: str) -> str:
    """One word of sbatch's text, whatever is in it."""
    return shlex.quote(word)


def _deaf(stage: Stage) -> Stage:
    argv = tuple(f"{HANDLED}{HARMLESS}" if word.startswith(HANDLED) else word for word in stage.argv)
    return dataclasses.replace(stage, argv=argv)


def parameters(run: str, attempt: int, hardware: Hardware, plan: Plan) -> dict[str, Any]:
    """What submitit is told for a run that the nodes see at this path, in submitit's own names; what is left out stays
    the cluster's default."""
    slurm = block_of(hardware)
    memory, limit = slurm.memory or hardware.memory, slurm.time or hardware.time
    check_limit(limit, slurm.signal_before)
    place = plan.resources
    cpus = slurm.cpus or place.ranks_per_node * place.threads
    gpus = None if slurm.gres is not None else place.gpus_per_node or None
    told: dict[str, Any] = {
        "job_name": Path(run).name,
        "comment": comment_of(attempt),
        "nodes": place.nodes,
        "ntasks_per_node": 1,
        "cpus_per_task": cpus,
        "gpus_per_node": gpus,
        "gres": slurm.gres,
        "mem": f"{math.ceil(parse_size(memory) / 2**20)}M" if memory is not None else None,
        "partition": slurm.partition,
        "account": slurm.account,
        "qos": slurm.qos,
        "constraint": slurm.constraint,
        "exclude": slurm.exclude,
        "signal_delay_s": slurm.signal_before,
        # submitit's default is 5 minutes, and one `wckey=submitit` that a site with wckeys refuses
        "time": math.ceil(parse_duration(limit) / 60) if limit is not None else None,
        "wckey": None,
        # a site may have switched requeueing off by default; the directory of whoever submits may not be there
        "additional_parameters": {"requeue": True, "chdir": run, **_optional("reservation", slurm.reservation)},
        # since Slurm 22.05 srun no longer takes the number of cores from sbatch, and a task would get a single one
        "srun_args": [f"--cpus-per-task={cpus}", "--kill-on-bad-exit=0", *container(slurm, run)],
        "stderr_to_stdout": True,
    }
    # of no effect on a single job: submitit says it where it submits an array
    return {**told, **({} if slurm.array_parallelism is None else {"array_parallelism": slurm.array_parallelism})}


def block_of(hardware: Hardware) -> Slurm:
    if hardware.slurm is None:
        raise JobError(
            "hardware.slurm: the job says nothing of the cluster; write `slurm: {}` under hardware for its defaults, "
            "or partition, account and folder"
        )
    return hardware.slurm


def check_limit(limit: str | None, warning_s: int) -> None:
    """JobError for a limit so short that the warning before it comes with the start: the job would save and requeue for
    ever, and never train."""
    if limit is not None and parse_duration(limit) <= warning_s + WARNING_EARLY_S:
        raise JobError(
            f"hardware.slurm.signal_before: {warning_s} s before a time limit of {limit} is the job's start (Slurm may "
            "warn a minute early); choose fewer seconds or a longer time"
        )


def comment_of(attempt: int) -> str:
    """By this and the name a job is found whose submission broke off before anybody learnt its number."""
    return f"runjob attempt {attempt}"


def container(slurm: Slurm, run: str) -> list[str]:
    """Pyxis' words for srun; the shared folder, or the run itself, is seen inside under its own path."""
    if slurm.container_image is None:
        return []
    seen = slurm.folder or run
    return [f"--container-image={slurm.container_image}", f"--container-mounts={seen}:{seen}"]


def _optional(name: str, value: str | None) -> dict[str, str]:
    return {} if value is None else {name: value}


def setup_lines(slurm: Slurm, run: str, places: Mapping[str, str], *, before: Sequence[str] = ()) -> list[str]:
    """Before the job: the user's own lines, then our variables, so that no module takes the place of the run's code.
    `run` as bash reads it; the lines of `before` say what it needs for that."""
    code = f"{run}/code"
    variables = [f"export {name}={shlex.quote(value)}" for name, value in places.items()]
    return [
        # else bash dies of the TERM that Slurm sends to all, and Slurm takes the job for ended
        "trap : TERM USR2",
        *slurm.setup,
        *before,
        f"export PYTHONPATH={code}${{PYTHONPATH:+:$PYTHONPATH}} PYTHONSAFEPATH=1",
        *variables,
    ]


def check_path(path: str, field: str, slurm: Slurm) -> None:
    """JobError for what Slurm, Pyxis or Python would read as something else than a path."""
    mounts = ((",", "Pyxis takes , as the end of a mount"),) if slurm.container_image is not None else ()
    for character, why in (
        ("%", "Slurm reads % in the path of a log as a pattern"),
        (":", "PYTHONPATH takes : as the end of a path"),
        ("\n", "a line of an sbatch file ends there"),
        ("\\", "Slurm takes \\ in the path of a log as an order to read no patterns"),
        *mounts,
    ):
        if character in path:
            raise JobError(f"{field}: {path!r} holds {character!r}: {why}; choose a path without")
