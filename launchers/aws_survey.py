"""What the type that a job names has, asked of Amazon before a run exists, and all that can be wrong before anything is
rented, all at once."""

import contextlib
from collections.abc import Iterator

from runjob.launchers.aws_account import describe_kind, find_image, offered_zones
from runjob.launchers.aws_client import connect
from runjob.launchers.aws_preview import several_nodes, too_few_gpus
from runjob.launchers.aws_prices import alike, cost_of, over_budget
from runjob.schemas.errors import MissingError
from runjob.schemas.job import Job
from runjob.schemas.job_hardware import Aws
from runjob.schemas.machine import Machine
from runjob.schemas.read import read_job_json
from runjob.schemas.run import RunDir


def block_of(job: Job) -> Aws:
    if job.hardware.aws is None:
        raise MissingError("hardware.aws: --launcher aws rents by it; write `aws: {instance: g5.xlarge, ...}`")
    return job.hardware.aws


def settings_of(run: RunDir) -> Aws:
    return block_of(read_job_json(run.job).job)


def survey(job: Job) -> Machine:
    """The machine that would be rented. MissingError with all that is wrong."""
    settings = block_of(job)
    clients = connect(settings.region)
    clients.caller()
    problems: list[str] = []
    kind = None
    with collected(problems):
        kind = describe_kind(clients, settings.instance)
        find_image(clients, settings, kind)
    if kind is not None:
        zones = offered_zones(clients, settings.instance)
        strange = [zone for zone in settings.zones if zone not in zones]
        if strange:
            said = ", ".join(zones) or "none"
            problems.append(f"hardware.aws.zones: {', '.join(strange)} has no {kind.name}; these have: {said}")
        elif not zones:
            problems.append(no_zone(settings, clients.region))
        problems += too_few_gpus(job, len(kind.gpus))
    problems += several_nodes(job)
    problems += filter(None, [over_budget(settings, cost_of(settings, clients.region), 0.0)])
    if problems or kind is None:
        raise MissingError("\n".join(problems))
    return Machine(cores=kind.cores, gpus=kind.gpus, processor=kind.processor)


@contextlib.contextmanager
def collected(problems: list[str]) -> Iterator[None]:
    try:
        yield
    except MissingError as error:
        problems.append(str(error))


def no_zone(settings: Aws, region: str) -> str:
    return f"hardware.aws.instance: no zone of {region} has a {settings.instance}{other_types(settings)}"


def other_types(settings: Aws) -> str:
    """What else to type where this type is not to be had."""
    said = [f"--set hardware.aws.instance={name}" for name in alike(settings.instance)[:2]]
    said += ["--set hardware.aws.spot=false"] if settings.spot else []
    return f"; try {', '.join([*said, 'another --set hardware.aws.region=...'])}, or later"
