"""A job that starts from what an earlier run of this RUNJOB_HOME has made: which run is meant, settled once.

A job file may name NAME@latest; job.json names the run itself, where its model lies and the sha256 of its weights, so
that neither a resume nor a later run of that name changes what this one began from.
"""

import copy
import dataclasses
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from runjob.runner.runs import is_elsewhere, state_of
from runjob.runner.shipped import files as shipped_files
from runjob.schemas.errors import NotFoundError
from runjob.schemas.job_json import Resolved
from runjob.schemas.json_object import read_object
from runjob.schemas.problems import JobFileError, Problem
from runjob.schemas.read import mark_of
from runjob.schemas.run import find_run, home, list_runs
from runjob.schemas.weights import RUN_PREFIX, weights_sha256

# Families by transformers' own names that an objective can go on with
FAMILIES = {
    "clm": ("gpt2",),
    "mlm": ("bert", "roberta", "modernbert", "deberta-v2", "mpnet", "canine"),
    "char_ar": ("canine",),
    "plm": ("mpnet",),
    "token_classification": ("bert", "roberta", "modernbert", "deberta-v2", "mpnet"),
    "relation_classification": ("bert", "roberta", "modernbert", "deberta-v2", "mpnet"),
    "sequence_classification": ("bert", "roberta", "modernbert", "deberta-v2", "mpnet", "canine"),
    "sentence_embedding": ("bert", "roberta", "modernbert", "deberta-v2", "mpnet"),
}
ORIGIN = "the run, at submission"
# Where a job names the tokenizer of a run, and its model as the teacher of vectors
TOKENIZER = "data.tokenizer.path"
TEACHER = "objective.teacher"


def settle_runs(resolved: Resolved) -> Resolved:
    """JobFileError where a run that the job starts from is not there, or has nothing to start from."""
    settled, problems = find_runs(resolved)
    if problems:
        raise JobFileError(problems)
    return settled


def find_runs(resolved: Resolved) -> tuple[Resolved, tuple[Problem, ...]]:
    """The job with whatever runs could be found in it, and what is wrong with the others."""
    values: dict[str, Any] = copy.deepcopy(resolved.values)
    origins = dict(resolved.origins)
    problems: list[Problem] = []
    init = values["model"]["init"]
    if init["kind"] == "run":
        said = list(init_problems(resolved, values))
        problems += [Problem.at(mark_of(resolved.origins[path]), path, text) for path, text in said]
        if not said:
            run = find_run(home(), init["id"])
            init |= {"id": run.id, "path": str(run.model), "revision": weights_sha256(run.model)}
            origins |= dict.fromkeys(("model.init.path", "model.init.revision"), ORIGIN)
    for where in models_of_runs(values):
        section, key = _section_of(values, where)
        wanted = section[key].removeprefix(RUN_PREFIX)
        if text := unusable(resolved, where, wanted):
            problems.append(Problem.at(mark_of(resolved.origins[where]), where, text))
        else:
            section[key] = str(find_run(home(), wanted).model)
    return dataclasses.replace(resolved, values=values, origins=origins), in_order(problems)


def models_of_runs(values: Mapping[str, Any]) -> Iterator[str]:
    """Where the job names the model directory of a run by `run:`."""
    tokenizer, objective = values["data"]["tokenizer"], values["objective"]
    if tokenizer["kind"] == "pretrained" and tokenizer["path"].startswith(RUN_PREFIX):
        yield TOKENIZER
    if objective["kind"] == "sentence_embedding" and (objective["teacher"] or "").startswith(RUN_PREFIX):
        yield TEACHER


def _section_of(values: dict[str, Any], where: str) -> tuple[dict[str, Any], str]:
    *sections, key = where.split(".")
    here = values
    for name in sections:
        here = here[name]
    return here, key


def in_order(problems: Sequence[Problem]) -> tuple[Problem, ...]:
    """Of the file."""
    return tuple(sorted(problems, key=lambda problem: (problem.line, problem.column)))


def init_problems(resolved: Resolved, values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    init, kind = values["model"]["init"], values["objective"]["kind"]
    if said := unusable(resolved, "model.init.id", init["id"]):
        yield "model.init.id", said
        return
    run = find_run(home(), init["id"])
    family = read_object(run.model / "config.json").get("model_type")
    if family not in FAMILIES[kind]:
        fitting = next((one for one, families in FAMILIES.items() if family in families), None)
        write = f"write `kind: {fitting}`" if fitting else "no objective here goes on with it"
        said = f"{run.id} is of the family {family}, and {kind} goes on with {', '.join(FAMILIES[kind])}; {write}"
        yield "objective.kind", said
    tokenizer = values["data"]["tokenizer"]["kind"]
    if family == "canine" and tokenizer != "characters":
        yield "data.tokenizer.kind", f"{run.id} reads characters; write {{kind: characters}}"
    if init["revision"] is not None and (found := weights_sha256(run.model)) != init["revision"]:
        yield "model.init.revision", f"the weights of {run.id} have the sha256 {found}"


def unusable(resolved: Resolved, where: str, wanted: str) -> str:
    """Why nothing can start from that run, and what to type; empty if something can."""
    try:
        run = find_run(home(), wanted)
    except NotFoundError as error:
        beside = Path(mark_of(resolved.origins[where]).file).parent
        return f"{error}; this makes one: {command_for(name_in(wanted), beside=beside)}"
    if any(run.model.glob("*.safetensors")):
        return ""
    status = state_of(run)
    way = f"runjob fetch {run.id}" if is_elsewhere(run) and status.state == "finished" else f"runjob resume {run.id}"
    way = "wait for its end" if status.state in ("pending", "running", "stopping") else way
    finished = [one for one in list_runs(home()) if one.id.rpartition("-")[0] == run.id.rpartition("-")[0]]
    others = [one.id for one in finished if any(one.model.glob("*.safetensors"))]
    instead = f", or name one that has: {', '.join(others[:3])}" if others else ""
    return f"{run.id} is {status.state} and has no model yet: {way}{instead}"


def name_in(wanted: str) -> str:
    """The job's name in what names a run.

    >>> [name_in(one) for one in ("paleo@latest", "paleo-1a2b3c4d", "paleo-x", "pal")]
    ['paleo', 'paleo', 'paleo-x', 'pal']
    """
    return re.sub(r"(@latest|-[0-9a-f]{8})$", "", wanted)


def command_for(name: str, *, beside: Path) -> str:
    """What makes a run of that name, as far as the files beside this one and those that are shipped tell."""
    named = re.compile(rf"^name:\s*[\"']?{re.escape(name)}[\"']?\s*(#.*)?$", re.MULTILINE)
    for path in [*sorted(beside.glob("*.yaml")), *shipped_files()]:
        if path.is_file() and named.search(path.read_text(encoding="utf-8", errors="replace")):
            return f"runjob {path}"
    return f"runjob JOB.yaml, of a job file that says `name: {name}`"
