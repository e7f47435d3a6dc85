"""A run goes on with the code that was frozen when it was submitted, and `resume` may be a later runjob's: what is
written for that code has to be in words that it knows."""

import dataclasses
import json
import re
from typing import Any

from runjob.schemas.earlier import Reading, leaves
from runjob.schemas.errors import StateError
from runjob.schemas.problems import ADDED_SINCE, SET
from runjob.schemas.read import Resolved
from runjob.schemas.run import RunDir, read_json
from runjob.schemas.schema import BUNDLE, Schema

# What only launchers read, on the side of whoever types `resume`
LAUNCHERS_OWN = ("hardware.slurm", "hardware.ssh", "hardware.aws")


def in_its_words(run: RunDir, job: Resolved) -> Resolved:
    """The job with `added since` at every field that the run's own code lacks, so that it passes them over. StateError
    where a --set asks for one."""
    schema = run.code / "runjob" / "schemas" / BUNDLE
    if not schema.exists():
        return job
    reading = Reading(schema=whole_job(read_json(schema)), origins=dict(job.origins))
    reading.job(job.values)
    asked = [path for path in reading.unknown if is_asked(path, job.origins)]
    if asked:
        version = read_json(run.code / "CODE.json")["version"]
        raise StateError(
            f"--set {', '.join(asked)}: the code that this run began with (runjob {version}) knows no such field, and "
            "a run keeps its code; start a new job for that"
        )
    values, origins = json.loads(json.dumps(job.values)), dict(job.origins)
    for path in reading.unknown:
        if "[" in path:
            remove(values, path)  # inside a list no field has an origin of its own; it is one that was filled in here
        for leaf in leaves(origins, path):
            origins[leaf] = f"{ADDED_SINCE}{origins[leaf].removeprefix(ADDED_SINCE)}"
    return dataclasses.replace(job, values=values, origins=origins)


def whole_job(published: Schema) -> Schema:
    """Of a published schema what it says of a whole job: all of it, before files could extend others."""
    definitions = published["$defs"]
    return {**definitions["job"], "$defs": definitions} if "job" in definitions else published


def is_asked(path: str, origins: dict[str, str]) -> bool:
    if path.startswith(LAUNCHERS_OWN):
        return False
    listed = path.partition("[")[0] if "[" in path else path
    return any(origins[leaf] == SET.strip() for leaf in leaves(origins, listed))


def remove(values: Any, path: str) -> None:  # noqa: ANN401 - any JSON value
    """Take `data.sources[0].weight` away."""
    *way, last = re.findall(r"[^.\[\]]+", path)
    for key in way:
        values = values[int(key)] if isinstance(values, list) else values[key]
    del values[last]
