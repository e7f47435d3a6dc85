"""What preparing a job's data taught about its batches, kept in the cache so that a plan made later can say it.

    <cache>/facts/<key>.json     key: the settings of the job that decide rows and their cut

They are those of the store that was prepared last; whether the corpus has changed since is for `prepare` to find out.
"""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from runjob.schemas.job import Job
from runjob.schemas.job_model import group_of
from runjob.schemas.json_object import read_object
from runjob.schemas.records import SEAL, digest_of, sealed
from runjob.schemas.run import cache_home, write_json


@dataclass(frozen=True, kw_only=True)
class Facts:
    """`rows` and input `tokens` of an epoch, and the tokens `left_out` of documents that the job truncates; of the
    first steps, the share of what is computed that is `padding`, and by number of ranks (as text, for JSON) the fewest
    and most micro batches of a step."""

    rows: int
    tokens: int
    left_out: int
    padding: float
    micro_batches: Mapping[str, tuple[int, int]]


def keep_facts(job: Job, facts: Facts, *, padded: bool) -> None:
    """`padded`: whether padding is computed (schemas/end_to_end.py), which only some networks do."""
    file = _file(job, padded)
    file.parent.mkdir(parents=True, exist_ok=True)
    write_json(file, sealed(dataclasses.asdict(facts)))


def recall_facts(job: Job, *, padded: bool) -> Facts | None:
    """None where these data have not been prepared for such a job, or what was kept is damaged: it is only news."""
    file = _file(job, padded)
    raw = read_object(file)
    if not raw or raw.pop(SEAL, "") != digest_of(raw):
        return None
    cuts = {ranks: (least, most) for ranks, (least, most) in raw["micro_batches"].items()}
    return Facts(**{**raw, "micro_batches": cuts})


def _file(job: Job, padded: bool) -> Path:
    training = job.training
    decided_by = {
        "data": dataclasses.asdict(job.data),
        "seed": job.seed,
        "objective": job.objective.kind,
        "cut": [training.global_batch, training.micro_batch, training.micro_tokens, group_of(job.objective), padded],
    }
    key = hashlib.sha256(json.dumps(decided_by, sort_keys=True).encode()).hexdigest()
    return cache_home() / "facts" / f"{key}.json"
