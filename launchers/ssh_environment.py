"""Which Python runs a job on a host: the one that the job names, or an environment that is made there once for each set
of versions; and what is wrong there, all of it at once, before anything is sent."""

import contextlib
import functools
import hashlib
import importlib.metadata
import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runjob.launchers import environment
from runjob.launchers.base import Told
from runjob.launchers.errand import MARK
from runjob.launchers.shell import end, with_setup
from runjob.launchers.ssh_place import ERRAND_S, SshPlace, errand_command, last_line, read_answer, unread
from runjob.launchers.ssh_target import SSH_FAILED, SshTarget, explain
from runjob.schemas import machine
from runjob.schemas.errors import LaunchError, MissingError
from runjob.schemas.job import Job
from runjob.schemas.job_hardware import Ssh
from runjob.schemas.machine import Machine

OLDEST = (3, 11)
# What the worker imports; a given interpreter has them, an environment of ours gets them
MODULES = (
    *("torch", "transformers", "datasets", "deepspeed", "safetensors", "tokenizers", "numpy"),
    *("yaml", "fsspec", "jsonschema", "tensorboard", "platformdirs"),
)
PLAIN_PYTHON = "python3"
# Code, records and a first checkpoint of a small job; less than that ends in the middle of something
LEAST_FREE = 200 << 20
PRINT_MACHINE = "\nimport dataclasses, json\nprint(json.dumps(dataclasses.asdict(detect_machine())))\n"


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a host has: the folder as an absolute path, the interpreter for errands, and which other one runs jobs."""

    target: SshTarget
    root: str
    version: tuple[int, ...]
    errand_python: str
    job_python: str
    rsync: bool
    made: bool
    """Is `job_python` an environment that we make there?"""

    def place(self, block: Ssh) -> SshPlace:
        return SshPlace(
            target=self.target, root=self.root, python=self.errand_python, setup=block.setup, rsync=self.rsync
        )


def look_around(target: SshTarget, block: Ssh) -> Found:
    """Ask the host. MissingError with everything that is wrong there; LaunchError where it does not answer."""
    python = block.python or PLAIN_PYTHON
    modules = MODULES if block.python is not None else ("venv", "ensurepip")
    words = ["probe", block.folder, *modules]
    argv = with_setup(block.setup, errand_command(python, words))
    answer = target.run(argv, timeout_s=ERRAND_S)
    if answer.code != 0:
        raise MissingError(no_python(target.host, python, block, answer.err, answer.code))
    found: dict[str, Any] = read_answer(target.host, answer)
    problems = list(wrong(target.host, block, python, found))
    if problems:
        raise MissingError("\n".join(problems))
    version = tuple(found["python"])
    made = f"{found['root']}/envs/{environment_key(version, found['machine'])}/bin/python"
    return Found(
        target=target,
        root=found["root"],
        version=version,
        errand_python=python,
        job_python=block.python or made,
        # a login that greets says so to rsync too, which takes it for an answer
        rsync="rsync" in found["programs"] and has_rsync() and answer.out.startswith(MARK),
        made=block.python is None,
    )


def no_python(host: str, python: str, block: Ssh, err: str, code: int) -> str:
    said = last_line(err)
    if code in (126, 127):
        return (
            f"{host}: there is no {python} that can be started ({said}); install Python {dotted(OLDEST)} or later "
            "there, or name one that has runjob's packages in hardware.ssh.python"
        )
    if "SyntaxError" in err or "future feature" in err:
        return f"{host}: {python} is far too old; runjob needs {dotted(OLDEST)}: name another in hardware.ssh.python"
    what = "hardware.ssh.setup or Python" if block.setup else "Python"
    return f"{host}: {what} there ended with code {code}: {said or 'without a word'}"


def wrong(host: str, block: Ssh, python: str, found: dict[str, Any]) -> list[str]:
    problems = []
    if tuple(found["python"]) < OLDEST:
        problems.append(
            f"{host}: {python} is Python {dotted(found['python'])} and runjob needs {dotted(OLDEST)} or later; name "
            "another one in hardware.ssh.python"
        )
    if found["problem"]:
        problems.append(
            f"{host}: the folder {found['root']} can't be written to: {found['problem']}; name another one in "
            "hardware.ssh.folder"
        )
    elif found["free"] < LEAST_FREE:
        problems.append(
            f"{host}: only {found['free'] >> 20} MB are free where {found['root']} is; make room there, or name "
            "another folder in hardware.ssh.folder"
        )
    if found["missing"]:
        names = ", ".join(found["missing"])
        problems.append(
            f"{host}: {python} lacks {names}; install them there, or leave hardware.ssh.python out: then an "
            "environment with them is made there"
            if block.python is not None
            else f"{host}: {python} can make no environment, it lacks {names} (on Debian: apt-get install "
            "python3-venv); or name an interpreter that has runjob's packages in hardware.ssh.python"
        )
    return problems


def dotted(version: Any) -> str:  # noqa: ANN401 - a list or a tuple of numbers
    return ".".join(map(str, version))


@functools.cache
def has_rsync() -> bool:
    return shutil.which("rsync") is not None


def requirements() -> list[str]:
    """What this installation of runjob itself asks for, and of its optional extras the one that `output.remote` needs
    for S3: whether a job copies itself there is not known when an environment is made for all of them."""
    lines = importlib.metadata.requires("runjob") or ()
    s3 = [line.partition(";")[0].strip() for line in lines if re.search(r"extra == .s3.$", line)]
    return [*(line for line in lines if "extra ==" not in line), *s3]


def constraints() -> str:
    return Path(__file__).with_name("constraints.txt").read_text(encoding="utf-8")


def environment_key(version: tuple[int, ...], kind: str) -> str:
    """By versions, interpreter and kind of processor: a home may be shared by unlike machines."""
    text = json.dumps([constraints(), sorted(requirements())])
    return f"{hashlib.sha256(text.encode()).hexdigest()[:12]}-{dotted(version[:2])}-{kind}"


def make_environment(found: Found, block: Ssh, *, told: Told) -> None:
    """The environment, if it is to be made and is not there; its lines are told as they come."""
    if not found.made:
        return
    text = Path(str(environment.__file__)).read_text(encoding="utf-8")
    folder = str(Path(found.job_python).parent.parent)
    process = found.target.start(with_setup(block.setup, [found.errand_python, "-I", "-c", text, folder]))
    assert process.stdin is not None and process.stdout is not None and process.stderr is not None
    wanted = {"requirements": requirements(), "constraints": constraints()}
    try:
        with contextlib.suppress(BrokenPipeError), process.stdin as pipe:  # why it ended is in its last words
            pipe.write(json.dumps(wanted).encode())
        with process.stdout as lines:
            for line in lines:
                if line == MARK:
                    break
                told(line.decode("utf-8", errors="replace").strip()[:200])
        with process.stderr as errors:
            err = errors.read().decode("utf-8", errors="replace").strip()
        code = process.wait()
    except BaseException:
        end(process)
        raise
    if code == SSH_FAILED:
        raise explain(found.target.host, err)
    if code != 0:
        raise LaunchError(f"{found.target.host}: the environment {folder} can't be made there: {err}")


def target_of(block: Ssh, host: str) -> SshTarget:
    return SshTarget(host=host, config_file=block.config_file)


def survey_hosts(job: Job, block: Ssh) -> Machine:
    """The first host's machine, once every host has what its node needs; MissingError with all that they lack."""
    nodes = job.hardware.nodes
    if nodes > len(block.host):
        named = ", ".join(block.host)
        raise MissingError(f"hardware.ssh.host: the job wants {nodes} nodes, one host each; it names {named}")
    if nodes > 1 and job.data.split is not None and job.data.split.test is not None:
        # every node reads the last checkpoint for it, and only the first one has it
        raise MissingError("data.split.test: over several hosts there is no test side; leave it out, or take one node")
    machines, problems = [], []
    for host in block.host[:nodes]:
        try:
            machines.append(survey_machine(look_around(target_of(block, host), block), block))
            problems += missing_gpus(job, host, machines[-1])
        except MissingError as error:
            problems.append(str(error))
    if problems:
        raise MissingError("\n".join(problems))
    return machines[0]


def missing_gpus(job: Job, host: str, found: Machine) -> list[str]:
    wanted, there = job.hardware.gpus, len(found.gpus)
    if job.hardware.device != "cuda" or (there and (wanted == "all" or (isinstance(wanted, int) and wanted <= there))):
        return []
    return [f"{host}: hardware.gpus: the job asks for {wanted}, nvidia-smi lists {there} there"]


def survey_machine(found: Found, block: Ssh) -> Machine:
    """Processors and GPUs there, by the very code that looks for them here."""
    text = Path(str(machine.__file__)).read_text(encoding="utf-8") + PRINT_MACHINE
    argv = with_setup(block.setup, [found.errand_python, "-I", "-c", text])
    answer = found.target.run(argv, timeout_s=ERRAND_S)
    if answer.code != 0:
        raise LaunchError(f"{found.target.host}: {last_line(answer.err)}")
    lines = answer.out.decode("utf-8", errors="replace").strip().splitlines()
    try:
        raw = json.loads(lines[-1])
        return Machine(**{**raw, "gpus": tuple(raw["gpus"])})
    except (ValueError, IndexError, TypeError, KeyError) as error:
        raise unread(found.target.host, answer) from error
