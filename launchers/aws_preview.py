"""What `plan --launcher aws` shows without a network: what would be rented, how long the job would train there, what
that may cost, and what ends it; and the machine as the shipped table knows it."""

import os

from runjob.launchers.aws_account import CPU_IMAGE, GPU_IMAGE
from runjob.launchers.aws_prices import cost_of, over_budget, table
from runjob.launchers.aws_time import Expected, expected_time, impossible, too_long
from runjob.schemas.job import Job
from runjob.schemas.job_hardware import Aws
from runjob.schemas.machine import Machine
from runjob.schemas.plan import Plan

REGION_VARIABLE = "AWS_DEFAULT_REGION"


def preview(job: Job, plan: Plan) -> str:
    settings = job.hardware.aws
    if settings is None:
        return ""
    region = planned_region(settings)
    expected = expected_time(job, plan, foreseen_machine(job), done=0)
    market = "a spot machine" if settings.spot else "one machine"
    lines = [
        ("rents", f"{market}, {described(settings)}, disk of {settings.disk_gib} GiB"),
        ("where", f"{region or 'the region of the AWS configuration'}, {zones_text(settings)}"),
        ("image", settings.image or f"the newest of {GPU_IMAGE if with_gpus(settings) else CPU_IMAGE}"),
        ("time", str(expected)),
        ("cost", cost_text(settings, region, expected)),
        ("budget", "none" if settings.budget_usd is None else f"${settings.budget_usd:g}"),
        ("ends", f"when all is home{' is its watchdog`s matter (keep)' if settings.keep else ''}; by itself after "
                 f"{settings.max_hours:g} h, or {settings.idle_minutes} min without work"),
        ("lets in", settings.from_address or "this address only, asked when it is rented"),
        ("logs in as", f"{settings.user}, with a key of this RUNJOB_HOME; files go to {settings.folder}"),
        ("Python", settings.python or f"an environment under {settings.folder}/envs, made there"),
    ]  # fmt: skip
    problems = [*several_nodes(job), *too_few_gpus(job, gpus_of(settings))]
    problems += filter(None, [over_budget(settings, cost_of(settings, region), 0.0)])
    never, hardly = in_time(job, settings, expected)
    lines += [("careful", hardly)] if hardly else []
    lines += [("missing", one) for one in (*problems, *filter(None, [never]))]
    return "\n".join(f"{name:<12} {value}" for name, value in lines)


def in_time(job: Job, settings: Aws, expected: Expected) -> tuple[str, str]:
    """Why the machine's life can't be long enough, or may not be; at most one of the two is said."""
    remote, cost = job.output.remote is not None, cost_of(settings, planned_region(settings))
    never = impossible(expected, settings, remote=remote, cost=cost)
    return never, "" if never else too_long(expected, settings, remote=remote, cost=cost)


def described(settings: Aws) -> str:
    row = table().rows.get(settings.instance)
    if row is None:
        return f"{settings.instance} (not in the table of {table().date}: cores and GPUs are asked when it is rented)"
    return f"{settings.instance} ({row.cores} cores" + (f", {row.gpus} x {row.gpu})" if row.gpus else ")")


def zones_text(settings: Aws) -> str:
    if settings.subnet is not None:
        return settings.subnet
    return f"zones {', '.join(settings.zones)} in this order" if settings.zones else "any zone that has one"


def cost_text(settings: Aws, region: str | None, expected: Expected) -> str:
    """What the training would cost, where its time is known, and the most that the machine can."""
    cost = cost_of(settings, region)
    if cost.most is None or cost.hourly is None:
        return f"unknown: {cost.source}"
    training = ""
    if expected.hours is not None:
        longer = ", longer than max_hours" if expected.hours > settings.max_hours else ""
        training = f"{expected.about} ${expected.hours * cost.hourly:.2f} to train{longer}; "
    spot = "; spot is mostly less, never more" if settings.spot else ""
    return f"{training}at most ${cost.most:.2f} = {cost.hours:g} h x ${cost.hourly:g} an hour ({cost.source}){spot}"


def planned_region(settings: Aws) -> str | None:
    """As far as it is known without boto3, which reads ~/.aws/config."""
    return settings.region or os.environ.get(REGION_VARIABLE) or None


def foreseen_machine(job: Job) -> Machine | None:
    """The rented machine by the shipped table; None for a type that it does not hold."""
    settings = job.hardware.aws
    row = table().rows.get(settings.instance) if settings is not None else None
    if settings is None or row is None:
        return None
    return Machine(cores=row.cores, gpus=(row.gpu,) * row.gpus, processor=f"AWS {settings.instance}")


def gpus_of(settings: Aws) -> int | None:
    row = table().rows.get(settings.instance)
    return None if row is None else row.gpus


def with_gpus(settings: Aws) -> bool:
    gpus = gpus_of(settings)
    return settings.instance[:1] in "gp" if gpus is None else gpus > 0


def several_nodes(job: Job) -> list[str]:
    if job.hardware.nodes == 1:
        return []
    return [f"hardware.nodes: {job.hardware.nodes}, and the aws launcher rents one machine; set it to 1"]


def too_few_gpus(job: Job, there: int | None) -> list[str]:
    wanted = job.hardware.gpus
    if job.hardware.device != "cuda" or there is None:
        return []
    name = job.hardware.aws.instance if job.hardware.aws is not None else ""
    if there == 0:
        return [f"hardware.aws.instance: {name} has no GPU, and hardware.device is cuda; g5.xlarge has one"]
    if isinstance(wanted, int) and wanted > there:
        return [f"hardware.gpus: the job asks for {wanted}, and {name} has {there}; take another hardware.aws.instance"]
    return []
