"""Bring a run from its `output.remote`: `python -m runjob.runner.worker.adopt URL/ID HOME`, or with `--newer` what a
run that is here lacks.

The newest complete checkpoint (and the best one that it names), what a resume reads, the frozen code, and the model
where there is one. Every byte of a checkpoint, of the model and of the code is checked against the list that vouches
for it. A transfer that broke off goes on: what has come whole isn't asked for again. The run gets its name last.
"""

import argparse
import re
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from runjob.data.remote import RemoteError
from runjob.data.space import in_words
from runjob.runner.worker.remote_run import CODE_LIST, MODEL_LIST, RemoteRun, parse_model_list
from runjob.runner.worker.remote_store import Store
from runjob.schemas.errors import CheckpointError, JobError, NotFoundError, RunjobError
from runjob.schemas.frozen import sum_of
from runjob.schemas.manifest import (
    MANIFEST,
    FileFacts,
    best_of,
    damage,
    folder_name,
    measure,
    parse_manifest,
    steps_in,
)
from runjob.schemas.quantities import counted
from runjob.schemas.run import ID, RunDir, make_home, read_json, write_atomic

NEEDED = ("job.yaml", "job.json", "plan.json", "deepspeed.json", CODE_LIST)
# What may come from there, so that no name in a bucket leads out of the run directory or over what is only ours
RECORD = re.compile(r"[a-z_]+\.(json|jsonl|yaml)|attempts/[0-9]+/[a-z_]+\.(json|jsonl)|stream/[0-9a-f]+\.jsonl")
CLAIM = re.compile(r"attempts/([0-9]+)/claim\.json")
OURS = ("upload.json", MODEL_LIST)


def adopt(url: str, home: Path) -> RunDir:
    """The run of this address under `home`; NotFoundError if there is none."""
    name = url.rstrip("/").rpartition("/")[2]
    if not ID.fullmatch(name):
        raise JobError(f"{url}: ends in no job's id; write output.remote and the id: s3://bucket/runs/NAME-1a2b3c4d")
    if (home / name).exists():
        raise JobError(f"{name} is under {home} already; `runjob resume {name}` looks for what is newer at its remote")
    remote = RemoteRun(Store(url))
    sizes = remote.store.sizes("")
    lacking = [one for one in NEEDED if one not in sizes]
    if lacking:
        raise NotFoundError(f"{url}: no job is there ({', '.join(lacking)} missing)")
    beside = RunDir(home / f".adopt-{name}")
    make_home(home)
    beside.checkpoints.mkdir(parents=True, exist_ok=True)
    beside.path.chmod(0o700)
    fetch_code(remote, beside, sizes)
    fetch_checkpoints(remote, beside, remote.complete())
    fetch_records(remote, beside, sizes)
    fetch_model(remote, beside)
    beside.path.rename(home / name)
    return RunDir(home / name)


def fetch_newer(run: RunDir, url: str) -> None:
    """What the copy of a run has of later attempts or steps than the run here, which must not be running."""
    remote = RemoteRun(Store(f"{url.rstrip('/')}/{run.id}"))
    sizes = remote.store.sizes("")
    claims = [int(found[1]) for name in sizes if (found := CLAIM.fullmatch(name))]
    attempt_there, attempt_here = max(claims, default=0), max((one.number for one in run.list_attempts()), default=0)
    steps_here = steps_in(run.checkpoints)
    if attempt_there > attempt_here:
        say(f"attempt {attempt_there} of it was begun elsewhere")
        set_aside(run, attempt_here, [step for step in steps_here if step > max(remote.complete(), default=0)])
        fetch_checkpoints(remote, run, remote.complete())
        fetch_records(remote, run, sizes)
        fetch_model(remote, run)
    elif attempt_there == attempt_here and max(there := not_left(remote, run), default=0) > max(steps_here, default=0):
        fetch_checkpoints(remote, run, there)
        fetch_longer_events(remote, run)
    else:
        say("nothing newer is there")


def not_left(remote: RemoteRun, run: RunDir) -> dict[int, bytes]:
    """The complete checkpoints there but for those that were set aside here (`resume --from`): they go from there with
    the first one of the new history, and the attempt may have been killed before. One that was set aside since it is
    damaged here is the very one that is wanted."""
    aside = run.attempts.glob(f"*/checkpoints/step-*/{MANIFEST}")
    left = {path.read_bytes() for path in aside if not any(damage(path.parent))}
    return {step: data for step, data in remote.complete().items() if data not in left}


def set_aside(run: RunDir, attempt: int, steps: list[int]) -> None:
    """What an attempt here went on to do after another had taken over is of a history that was left."""
    for step in steps:
        target = run.attempt(attempt).path / "checkpoints" / folder_name(step)
        target.parent.mkdir(parents=True, exist_ok=True)
        (run.checkpoints / target.name).rename(target)
        say(f"step {step} of attempt {attempt} is set aside in {target.parent}")


def fetch_longer_events(remote: RemoteRun, run: RunDir) -> None:
    """Of the attempt that is known here: its events up to the checkpoint, and not where it is said to run."""
    there = remote.store.read("events.jsonl")
    if there is not None and len(there) > (run.events.stat().st_size if run.events.exists() else 0):
        write_atomic(run.events, there.decode("utf-8"))


def fetch_code(remote: RemoteRun, run: RunDir, sizes: Mapping[str, int]) -> None:
    """Checked against the one sum over all files that CODE.json holds."""
    names = [name for name in sizes if name.startswith("code/") and is_plain(name)]
    for name in names:
        fetch(remote, name, run.path / name, size=sizes[name])
    if sum_of(run.code / "runjob") != read_json(run.path / CODE_LIST)["sha256"]:
        shutil.rmtree(run.code)
        raise RunjobError(f"{remote.store.url}/code: not the code that its CODE.json speaks of; type the same again")
    say(f"code: {counted(len(names), 'file')}")


def fetch_checkpoints(remote: RemoteRun, run: RunDir, there: Mapping[int, bytes]) -> None:
    """The newest that is whole when it has come, and the best that it names."""
    for step in sorted(there, reverse=True):
        try:
            best = best_of(fetch_checkpoint(remote, run, step, there[step]))
        except CheckpointError as error:
            say(f"passed over: {error}")
            continue
        if best is not None and best != step and best in there:
            fetch_checkpoint(remote, run, best, there[best])
        write_atomic(run.latest, folder_name(step) + "\n")
        return
    say("no complete checkpoint is there: a resume begins again at step 0")


def fetch_checkpoint(remote: RemoteRun, run: RunDir, step: int, data: bytes) -> Path:
    """Into a hidden folder, each file compared; then it gets its name, as one that was written here."""
    final, manifest = run.checkpoints / folder_name(step), parse_manifest(data)
    assert manifest is not None, "only whole manifests are listed"
    if (final / MANIFEST).exists() and (final / MANIFEST).read_bytes() == data:
        return final
    beside = run.checkpoints / f".{folder_name(step)}.fetched"
    beside.mkdir(parents=True, exist_ok=True)
    for name, facts in manifest.files.items():
        fetch_checked(remote, f"checkpoints/{folder_name(step)}/{name}", beside / name, facts)
    (beside / MANIFEST).write_bytes(data)
    shutil.rmtree(final, ignore_errors=True)
    beside.rename(final)
    total = sum(facts.size for facts in manifest.files.values())
    say(f"checkpoint of step {step}: {counted(len(manifest.files), 'file')}, {in_words(total)}")
    return final


def fetch_records(remote: RemoteRun, run: RunDir, sizes: Mapping[str, int]) -> None:
    """Always anew: they change there, and are small. status.json last: from then on the run says what it is."""
    names = [name for name in sizes if RECORD.fullmatch(name) and name not in OURS]
    for name in sorted(names, key=lambda name: name == "status.json"):
        fetch(remote, name, run.path / name, size=None)
    if run.status.exists():
        run.attempt(run.read_status().attempt).path.mkdir(parents=True, exist_ok=True)


def fetch_model(remote: RemoteRun, run: RunDir) -> None:
    listed = remote.store.read(MODEL_LIST)
    if listed is None or run.model.exists():
        return
    files = parse_model_list(listed)
    beside = run.path / ".model.fetched"
    beside.mkdir(exist_ok=True)
    for name, facts in files.items():
        fetch_checked(remote, f"model/{name}", beside / name, facts)
    beside.rename(run.model)
    say(f"model: {counted(len(files), 'file')}, {in_words(sum(facts.size for facts in files.values()))}")


def fetch_checked(remote: RemoteRun, name: str, to: Path, facts: FileFacts) -> None:
    fetch(remote, name, to, size=facts.size)
    if measure(to) != facts:
        to.unlink()
        raise CheckpointError(f"{remote.store.url}/{name}: is damaged there (its sha256 is not its list's)")


def fetch(remote: RemoteRun, name: str, to: Path, *, size: int | None) -> None:
    """Beside, then renamed; one of the right size has come before. `size` None: fetch it anyway."""
    if not is_plain(name):
        raise CheckpointError(f"{remote.store.url}: a list there names {name}, which leads out of the run")
    if size is not None and to.is_file() and to.stat().st_size == size:
        return
    to.parent.mkdir(parents=True, exist_ok=True)
    beside = to.with_name(f".{to.name}.part")
    remote.store.get(name, beside)
    beside.replace(to)


def is_plain(name: str) -> bool:
    """A name that stays below the folder it is put in."""
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts


def say(text: str) -> None:
    print(text, flush=True)


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="runjob adopt", description="Bring a run from its output.remote.")
    parser.add_argument("url", help="output.remote and the id; with --newer output.remote alone")
    parser.add_argument("place", type=Path, help="RUNJOB_HOME; with --newer the run directory")
    parser.add_argument("--newer", action="store_true", help="only what a run that is here lacks")
    return parser


def main(arguments: list[str] | None = None) -> int:
    options = build_parser().parse_args(arguments)
    try:
        if options.newer:
            fetch_newer(RunDir(options.place), options.url)
        else:
            adopt(options.url, options.place)
    except KeyboardInterrupt:
        print("runjob: interrupted; type the same again, and it goes on", file=sys.stderr)
        return 130
    except RemoteError as error:
        print(f"runjob: {options.url} can't be read: {error}", file=sys.stderr)
        return 1
    except RunjobError as error:
        print(f"runjob: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
