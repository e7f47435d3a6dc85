"""A run that goes on in other pieces: 1, 2, 4 and 1 ranks, with another ZeRO stage and another micro batch at each
resume. The batches must be the same to the last digest, the optimiser's state is handed on to the last bit, and the
losses stay within what the promise gives for another number of ranks (1e-4 relative, fp32, dropout 0)."""

import random
from collections.abc import Iterator
from typing import Any

from benchmarks.chaos.jobs import STEPS, Narrow, References
from benchmarks.chaos.place import Place, records
from benchmarks.chaos.results import Enough, Named, Trial
from runjob.schemas.run import RunDir

TOLERANCE = 1e-4
# Of each attempt: until which step, with how many ranks, which ZeRO stage, which micro batch
PIECES = ((5, 1, 0, 8), (10, 2, 1, 2), (15, 4, 2, 1), (STEPS, 1, 3, 4))
EXACT = ("step", "batch", "tokens", "predicted", "samples", "learning_rate")


def trials(place: Place, references: References, chance: random.Random, enough: Enough) -> Iterator[Named]:
    jobs = ["gpt2_dutch", "paleo_dapt", "modernbert_student"]  # those that are cut by sequences
    chance.shuffle(jobs)
    for number, name in enumerate(jobs):
        if enough(number):
            return
        dry = () if name == "modernbert_student" else ("model.init.dropout=0.0",)
        job = Narrow(name=name, ranks=1, more=(*dry, "training.micro_batch=8"))
        yield "elastic: ranks 1, 2, 4, 1 and ZeRO 0, 1, 2, 3", stretched(place, references, job)


def stretched(place: Place, references: References, job: Narrow) -> Trial:
    unbroken = references.of(job)
    run: RunDir | None = None
    for until, ranks, zero, micro in PIECES:
        pause = f"training.stop_after={until} steps" if until < STEPS else "training.stop_after=null"
        sets = (f"hardware.ranks={ranks}", f"hardware.zero={zero}", f"training.micro_batch={micro}", pause)
        if run is None:
            run = place.submit(job.file, (*job.sets, *sets))
            continue
        words = [word for one in sets for word in ("--set", one)]
        done = place.call("resume", run.id, *words)
        if done.returncode not in (0, 75):
            return Trial(lost=True, note=f"{job}, {ranks} ranks, ZeRO {zero}: {done.stderr.strip()[-300:]}")
    assert run is not None
    difference = furthest(records(unbroken, "train"), records(run, "train"))
    differs = difference is None or difference > TOLERANCE
    return Trial(differing=differs, detected=True, note=f"{job.name}: at most {difference} relative")


def furthest(one: list[dict[str, Any]], other: list[dict[str, Any]]) -> float | None:
    """The largest relative difference of a loss; None where a batch, a count or a rate differs."""
    if [[record[name] for name in EXACT] for record in one] != [[record[name] for name in EXACT] for record in other]:
        return None
    return max(abs(a["loss"] - b["loss"]) / abs(a["loss"]) for a, b in zip(one, other, strict=True))
