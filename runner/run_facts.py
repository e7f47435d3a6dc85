"""What a run is made of and what came of it, as flat named values in groups: what `diff`, `compare` and `report` look
at. All of it is read from the run directory, the state apart.

    job          every value of job.json, with its origin
    data         fingerprints of the prepared store and the tokenizer, versions of remote files
    environment  the newest `start`: device, processor, threads, versions; launcher and host
    code         what CODE.json says of the frozen code
    deepspeed    deepspeed.json
    results      state, steps, the last evaluation, `finish`
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from runjob.runner.asking import states_of
from runjob.runner.changes import leaves
from runjob.runner.history import COMMON, History, Record, read_history
from runjob.runner.runs import launcher_name
from runjob.schemas.frozen import CODE_LIST
from runjob.schemas.job_json import Resolved, read_job_json
from runjob.schemas.json_object import read_object
from runjob.schemas.run import RunDir, Status

Group = Literal["job", "data", "environment", "code", "deepspeed", "results"]
# Said elsewhere: hashes of files that are compared by what they hold, planned steps, rows of the data
NOT_ENVIRONMENT = COMMON | {"hashes", "steps", "rows"}
FINGERPRINTS = {"data": "content", "tokenizer": "tokenizer"}


@dataclass(frozen=True, kw_only=True)
class Fact:
    """A value and where it came from."""

    value: Any
    origin: str


@dataclass(frozen=True, kw_only=True)
class Seen:
    """A run, read once: its state may have to be asked of another machine, and its records may be many."""

    run: RunDir
    status: Status
    history: History


def look_at(runs: Sequence[RunDir]) -> list[Seen]:
    return [
        Seen(run=run, status=status, history=read_history(run))
        for run, status in zip(runs, states_of(runs), strict=True)
    ]


Facts = Mapping[Group, Mapping[str, Fact]]


def facts_of(seen: Seen) -> Facts:
    """RunjobError where job.json can't be read; of what else is not there, nothing is said."""
    run, start = seen.run, seen.history.newest("start")
    return {
        "job": job_facts(read_job_json(run.job)),
        "data": _data_facts(run, start),
        "environment": _environment_facts(run, start),
        "code": _plain(read_object(run.code / CODE_LIST), CODE_LIST),
        "deepspeed": deepspeed_facts(read_object(run.deepspeed)),
        "results": _result_facts(seen.status, seen.history),
    }


def job_facts(resolved: Resolved) -> dict[str, Fact]:
    return {
        path: Fact(value=value, origin=resolved.origins.get(path, "")) for path, value in leaves(resolved.values, "")
    }


def deepspeed_facts(values: Mapping[str, Any]) -> dict[str, Fact]:
    return _plain(values, "deepspeed.json")


def _plain(values: Mapping[str, Any], origin: str) -> dict[str, Fact]:
    return {path: Fact(value=value, origin=origin) for path, value in leaves(dict(values), "")}


def _data_facts(run: RunDir, start: Record) -> dict[str, Fact]:
    prepared = read_object(run.data)
    said: dict[str, Any] = {name: prepared[name] for name in ("fingerprint", "sources") if name in prepared}
    if "origin" in prepared and isinstance(prepared["origin"], dict) and "corpus" in prepared["origin"]:
        said["corpus"] = prepared["origin"]["corpus"]
    hashes = start.get("hashes", {})
    seen = {called: hashes[name] for name, called in FINGERPRINTS.items() if name in hashes}
    seen |= {name: start[name] for name in ("rows",) if name in start}
    return _plain(said, "data.json") | _plain(seen, "start event")


def _environment_facts(run: RunDir, start: Record) -> dict[str, Fact]:
    seen = {name: value for name, value in start.items() if name not in NOT_ENVIRONMENT}
    handle = read_object(run.handle)
    place = {"launcher": launcher_name(run)} | {name: handle[name] for name in ("host",) if name in handle}
    return _plain(seen, "start event") | _plain(place, "handle.json")


def _result_facts(status: Status, history: History) -> dict[str, Fact]:
    told: dict[str, Any] = {"state": status.state, "attempts": len(history.stretches)}
    if history.train:
        told |= {"step": history.train[-1]["step"], "train_loss": history.train[-1]["loss"]}
    if history.evals:
        told |= {f"eval_{name}": value for name, value in history.evals[-1].items() if name not in COMMON}
    told |= {name: value for name, value in history.newest("finish").items() if name not in COMMON}
    return _plain(told, "events.jsonl")
