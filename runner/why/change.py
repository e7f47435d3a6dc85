"""What to write into the job instead, in the job's own fields and numbers, and the command that goes on so."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from runjob.runner.changes import judge
from runjob.runner.why.by_signals import last_stage
from runjob.runner.why.classes import Class
from runjob.runner.why.traces import Traces
from runjob.schemas.job import Job
from runjob.schemas.job_json import Resolved
from runjob.schemas.less_memory import Where, less_memory
from runjob.schemas.plan import Plan
from runjob.schemas.quantities import parse_duration

# How our own errors begin: with the field that they are about
FIELD = re.compile(r"((?:data|model|objective|training|evaluation|hardware|tracking|output)(?:\.[a-z_]+)*): ")
HARDWARE = ("slurm", "ssh", "aws")


@dataclass(frozen=True, kw_only=True)
class Setting:
    """`value` is what to write at `path`; with `look` it is what stands there, and only the user can know better."""

    path: str
    value: Any
    note: str
    look: bool = False


Finder = Callable[["Subject"], list[Setting]]


@dataclass(frozen=True, kw_only=True)
class Subject:
    resolved: Resolved
    plan: Plan
    traces: Traces

    @property
    def job(self) -> Job:
        return self.resolved.job

    @property
    def error(self) -> str:
        return self.traces.exit.error if self.traces.exit is not None else ""


def find_settings(kind: Class, subject: Subject) -> list[Setting]:
    """The first is the one to try first; none where the job need not change."""
    return FINDERS[kind](subject) if kind in FINDERS else []


def for_memory(subject: Subject) -> list[Setting]:
    slurm = subject.job.hardware.slurm
    if subject.traces.place is not None and slurm is not None and slurm.memory is not None:
        return [Setting(path="hardware.slurm.memory", value=twice(slurm.memory), note=f"now {slurm.memory}")]
    stage = last_stage(subject.traces)
    if stage is not None and stage.name == "prepare":
        return []  # nothing of what a step needs is there yet
    where: Where = "evaluation" if "out of memory in evaluation" in subject.error else "training"
    return [read_setting(text) for text in less_memory(subject.job, ranks=subject.plan.batch.ranks, where=where)]


def read_setting(text: str) -> Setting:
    """Of the form that `--set` takes, with a remark in brackets.

    >>> read_setting("training.micro_batch=4 (now 8)")
    Setting(path='training.micro_batch', value=4, note='now 8', look=False)
    """
    setting, _, note = text.partition(" (")
    path, _, value = setting.partition("=")
    return Setting(path=path, value=json.loads(value), note=note.removesuffix(")"))


def for_numerics(subject: Subject) -> list[Setting]:
    training = subject.job.training
    if training.precision == "fp16":
        return [Setting(path="training.precision", value="bf16", note="now fp16, whose largest number is 65,504")]
    rate = training.learning_rate
    less = float(f"{rate / 3:.1g}")
    return [Setting(path="training.learning_rate", value=less, note=f"now {rate:g}")]


def for_disk(subject: Subject) -> list[Setting]:
    keep = subject.job.training.checkpoint.keep
    stage = last_stage(subject.traces)
    if keep == 1 or (stage is not None and stage.name == "prepare"):
        return []
    return [Setting(path="training.checkpoint.keep", value=1, note=f"now {keep}; each is as large as the next")]


def for_time(subject: Subject) -> list[Setting]:
    """More time; or, where it had not saved by the end, more warning before it."""
    hardware = subject.job.hardware
    slurm = hardware.slurm
    if slurm is not None and subject.traces.status.state == "failed":
        longer = 2 * slurm.signal_before
        note = f"now {slurm.signal_before}; seconds before the limit, for saving"
        return [Setting(path="hardware.slurm.signal_before", value=longer, note=note)]
    if slurm is not None and slurm.time is not None:
        return [Setting(path="hardware.slurm.time", value=twice_as_long(slurm.time), note=f"now {slurm.time}")]
    if hardware.time is not None:
        return [Setting(path="hardware.time", value=twice_as_long(hardware.time), note=f"now {hardware.time}")]
    return []


def named_field(subject: Subject) -> list[Setting]:
    """The field that the error itself names first, as it is."""
    found = FIELD.match(subject.error)
    try:
        value = at(subject.resolved.values, found[1]) if found is not None else None
    except KeyError:
        value = None
    if found is None or value is None or isinstance(value, Mapping):
        return []
    return [Setting(path=found[1], value=value, note="as it is; the error is about this", look=True)]


def for_data(subject: Subject) -> list[Setting]:
    """What the error names, else the corpus."""
    values = subject.resolved.values["data"]
    path = [Setting(path="data.path", value=values["path"], note="as it is; this is what was read", look=True)]
    return named_field(subject) or (path if "path" in values else [])


def for_import(subject: Subject) -> list[Setting]:
    """Where the job's place has an environment of its own, the line that installs what lacks."""
    words = subject.traces.ranks.values()
    module = next((cause.subject for said in words for cause in said.causes if cause.subject), "")
    block = f"hardware.{subject.traces.launcher}"
    if not module or subject.traces.launcher not in HARDWARE or at(subject.resolved.values, block) is None:
        return []
    line = f"pip install {module.partition('.')[0]}"
    setup = [*at(subject.resolved.values, f"{block}.setup"), line]
    return [Setting(path=f"{block}.setup", value=setup, note="the package may have another name")]


FINDERS: dict[Class, Finder] = {
    "memory": for_memory,
    "numerics": for_numerics,
    "disk": for_disk,
    "time limit": for_time,
    "data": for_data,
    "configuration": named_field,
    "network": named_field,
    "import": for_import,
}


def at(values: Mapping[str, Any], path: str) -> Any:  # noqa: ANN401 - any JSON value
    found: Any = values
    for part in path.split("."):
        if not isinstance(found, Mapping):
            raise KeyError(path)
        found = found[part]
    return found


def twice(size: str) -> str:
    """
    >>> twice("24GiB"), twice("1.5 GB")
    ('48GiB', '3 GB')
    """
    number = re.match(r"[\d.]+", size)
    assert number is not None, size
    return f"{2 * float(number[0]):g}{size[number.end() :]}"


def twice_as_long(duration: str) -> str:
    """
    >>> twice_as_long("12:30:00")
    '25:00:00'
    """
    seconds = 2 * parse_duration(duration)
    return f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"


def as_yaml(settings: list[Setting]) -> str:
    """The first setting as a job file has it; JSON's scalars and lists are YAML too."""
    if not settings:
        return ""
    first = settings[0]
    *sections, field = first.path.split(".")
    lines = [f"{'  ' * depth}{name}:" for depth, name in enumerate(sections)]
    lines.append(f"{'  ' * len(sections)}{field}: {scalar(first.value)}  # {first.note}")
    return "\n".join(lines)


def scalar(value: Any) -> str:  # noqa: ANN401 - any JSON value
    """A bare word where YAML reads the same word back.

    >>> scalar("bf16"), scalar(4), scalar("on"), scalar(["a b"])
    ('bf16', '4', 'on', '["a b"]')
    """
    bare = isinstance(value, str) and re.fullmatch(r"[A-Za-z][A-Za-z0-9_/.-]*", value)
    if bare and value not in ("null", "true", "false"):
        return str(value)
    return json.dumps(value, ensure_ascii=False)


def resume_command(run_id: str, settings: list[Setting]) -> str:
    """With the first setting that a run may change as it goes on."""
    words = ["runjob", "resume", run_id]
    for setting in settings:
        verdict = judge(setting.path, None, setting.value).verdict
        if setting.look or verdict == "refused":
            continue
        value = setting.value if isinstance(setting.value, str) else json.dumps(setting.value)
        words += ["--set", quoted(f"{setting.path}={value}")]
        if verdict == "accept":
            words.append("--accept")
        break
    return " ".join(words)


def quoted(word: str) -> str:
    import shlex

    return shlex.quote(word)
