"""Take over a run that another laptop started: from its copy on a host, a run directory here with the same id, from
which it is watched, stopped and resumed as from there.

Only a shell and what the run itself uses are needed on the host. The job's paths stay those of the host: its inputs are
there, and who knows where the first laptop is.
"""

import json
import re
import secrets
import shutil
from pathlib import Path, PurePosixPath
from typing import Any

from runjob.launchers.base import Handle, Told
from runjob.launchers.errand import MARK
from runjob.launchers.ssh_link import Link
from runjob.launchers.ssh_mirror import bring_home
from runjob.launchers.ssh_place import ERRAND_S, run_errand
from runjob.launchers.ssh_target import SshTarget
from runjob.launchers.staging import FILES, JOB_OF_HOME
from runjob.schemas.errors import JobError, NotFoundError, RunjobError
from runjob.schemas.read import Resolved, override_job, read_job_json, write_job_json
from runjob.schemas.run import ID, RunDir, make_home

# user@host, a name, or an address of IPv6 in brackets; then the path
PLACE = re.compile(r"(?P<host>\[[^\]]+\]|[^:]+):(?P<path>.+)", re.DOTALL)
WANTED = (*FILES, "job.json", JOB_OF_HOME)
# The path as it is there, then the handle: said by sh, before it is known which Python there is
DESCRIBE = """
case "$1" in "~/"*) cd -- "$HOME/${1#"~/"}" ;; *) cd -- "$1" ;; esac || exit 66
printf '%s' "$2"; pwd -P; cat -- "$3"
"""
# Whoever ran the job on that host itself, without --launcher ssh, has its stores where runjob puts them there
OWN_FOLDER = "~/.runjob"


def adopt_over_ssh(place: str, *, home: Path, config_file: str | None, told: Told) -> RunDir:
    """The run of `HOST:PATH` as one of the jobs under `home`. NotFoundError if there is none."""
    found = PLACE.fullmatch(place)
    if found is None:
        raise JobError(f"{place}: expected HOST:PATH, such as gpu-box:~/.runjob/runs/NAME-1a2b3c4d")
    target = SshTarget(host=found["host"], config_file=config_file)
    path, handle = describe(target, found["path"])
    name = PurePosixPath(path).name
    if not ID.fullmatch(name):
        raise NotFoundError(f"{place}: {name} is no job's id; the path ends with one: NAME-1a2b3c4d")
    run = RunDir(home / name)
    if run.path.exists():
        raise JobError(f"{run.id} is one of the jobs here already: runjob status {run.id}")
    link = link_of(target, path, str(handle["python"]))
    make_home(home)
    beside = RunDir(home / f".adopting-{secrets.token_hex(4)}")
    beside.path.mkdir(mode=0o700)
    try:
        take(beside, link, int(handle["attempt"]), told=told)
        beside.path.rename(run.path)
    except BaseException:
        shutil.rmtree(beside.path)
        raise
    return run


def describe(target: SshTarget, wanted: str) -> tuple[str, dict[str, Any]]:
    """The run directory as an absolute path there, and what its handle.json says."""
    argv = ["sh", "-c", DESCRIBE, "sh", wanted, MARK.decode(), "handle.json"]
    answer = target.run(argv, timeout_s=ERRAND_S)
    _, _, said = answer.out.partition(MARK)
    path, _, text = said.decode("utf-8", "surrogateescape").partition("\n")
    try:
        handle: dict[str, Any] = json.loads(text) if answer.code == 0 else {}
    except ValueError:
        handle = {}
    if not path or "python" not in handle:
        raise NotFoundError(f"{target.host}:{wanted}: there is no run directory that was ever started ({answer.err})")
    return path, handle


def link_of(target: SshTarget, path: str, python: str) -> Link:
    parent = PurePosixPath(path).parent
    root = str(parent.parent) if parent.name == "runs" else str(parent)
    return Link(target=target, root=root, path=path, python=python, setup=(), rsync=False)


def take(run: RunDir, link: Link, attempt: int, *, told: Told) -> None:
    """Everything but what `fetch` brings."""
    for folder in (run.attempts, run.checkpoints):
        folder.mkdir()
    told(f"fetching the run from {link.target.host}")
    there = run_errand(link.target, link.python, link.setup, ["names", link.path])
    code = [name for name in there if name.startswith("code/")]
    link.place().get(link.path, [*(name for name in WANTED if name in there), *code], run.path, told=told)
    resolved = at_its_host(read_job_json(run.job), link)
    write_job_json(run.job, resolved)
    setup = resolved.job.hardware.ssh.setup if resolved.job.hardware.ssh is not None else ()
    link = Link(**{**vars(link), "setup": setup})
    handle = Handle(launcher="ssh", attempt=attempt, facts=link.facts())
    handle.write(run)
    run.attempt(attempt).path.mkdir()
    run.write_status("pending", attempt=attempt, message="adopted")
    status = bring_home(run, handle, link)
    if status.attempt != attempt:
        raise RunjobError(f"{link.target.host}: attempt {status.attempt} has begun there just now; adopt it again")


def at_its_host(resolved: Resolved, link: Link) -> Resolved:
    """The job as it is resumed from here: on that host, with the paths there."""
    block = resolved.values["hardware"]["ssh"]
    kept = {} if block is None else {name: block[name] for name in ("setup", "checkpoints", "python")}
    hosts = [link.target.host] if block is None or not isinstance(block["host"], list) else block["host"]
    folder = link.root if PurePosixPath(link.path).parent.name == "runs" else OWN_FOLDER
    now = {
        "python": link.python,
        **kept,
        "host": [link.target.host, *hosts[1:]],
        "config_file": link.target.config_file,
        "folder": folder,
        "data": "remote",
    }
    return override_job(resolved, [f"hardware.ssh={json.dumps(now)}"])
