"""A run that goes on in other pieces: 1, 2, 4 and 1 ranks, with another ZeRO stage and another micro batch at each
resume. The batches must be the same to the last digest, and at each change weights, both moments and losses within what
the promise gives for another number of ranks (1e-4 relative, fp32, dropout 0) of those of the run that nobody touched;
until the first change, and so in what the second attempt was handed, they are the same to the last bit."""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from safetensors.numpy import load_file

from benchmarks.chaos.jobs import OWN, STEPS, Narrow, References
from benchmarks.chaos.place import Place, records
from benchmarks.chaos.results import Enough, Named, Trial
from runjob.schemas.manifest import folder_name
from runjob.schemas.run import RunDir

TOLERANCE = 1e-4
EVERY = 5
# Of each attempt: until which step, with how many ranks, which ZeRO stage, which micro batch in sequences or in tokens
PIECES = ((5, 1, 0, 8, 2048), (10, 2, 1, 2, 512), (15, 4, 2, 1, 256), (STEPS, 1, 3, 4, 1024))
EXACT = ("step", "batch", "tokens", "predicted", "samples", "learning_rate")


def trials(place: Place, references: References, chance: random.Random, enough: Enough) -> Iterator[Named]:
    jobs = sorted(OWN)
    chance.shuffle(jobs)
    for number, name in enumerate(jobs):
        if enough(number):
            return
        dry = () if name == "modernbert_student" else ("model.init.dropout=0.0",)
        all_kept = f"training.checkpoint={{every: {EVERY} steps, keep: all}}"
        job = Narrow(name=name, ranks=1, more=(*dry, all_kept, cut(name, *PIECES[0][3:])))
        yield "elastic: ranks 1, 2, 4, 1 and ZeRO 0, 1, 2, 3", stretched(place, references, job)


def cut(name: str, sequences: int, tokens: int) -> str:
    """The micro batch in what the job counts it in."""
    by_tokens = any(one.startswith("training.micro_tokens") for one in OWN[name])
    return f"training.micro_tokens={tokens}" if by_tokens else f"training.micro_batch={sequences}"


def stretched(place: Place, references: References, job: Narrow) -> Trial:
    unbroken = references.of(job)
    run: RunDir | None = None
    for until, ranks, zero, *micro in PIECES:
        pause = f"training.stop_after={until} steps" if until < STEPS else "training.stop_after=null"
        sets = (f"hardware.ranks={ranks}", f"hardware.zero={zero}", cut(job.name, *micro), pause)
        if run is None:
            run = place.submit(job.file, (*job.sets, *sets))
            continue
        words = [word for one in sets for word in ("--set", one)]
        done = place.call("resume", run.id, *words)
        if done.returncode not in (0, 75):
            return Trial(lost=True, note=f"{job}, {ranks} ranks, ZeRO {zero}: {done.stderr.strip()[-300:]}")
    assert run is not None
    losses = furthest(records(unbroken, "train"), records(run, "train"))
    states = [furthest_state(unbroken, run, until) for until, *_ in PIECES]
    differs = losses is None or max(losses, *states) > TOLERANCE or states[0] > 0.0
    said = f"losses at most {losses} relative, weights and moments {max(states):.1e} of the largest of a tensor"
    return Trial(differing=differs, detected=True, note=f"{job.name}: {said}")


def furthest(one: list[dict[str, Any]], other: list[dict[str, Any]]) -> float | None:
    """The largest relative difference of a loss; None where a batch, a count or a rate differs."""
    if [[record[name] for name in EXACT] for record in one] != [[record[name] for name in EXACT] for record in other]:
        return None
    return max(abs(a["loss"] - b["loss"]) / abs(a["loss"]) for a, b in zip(one, other, strict=True))


def furthest_state(one: RunDir, other: RunDir, step: int) -> float:
    """The largest difference of a weight or a moment at this step, each as a share of the largest of its tensor."""
    folders = [run.checkpoints / folder_name(step) for run in (one, other)]
    names = [sorted(path.name for path in folder.glob("*.safetensors")) for folder in folders]
    if not names[0] or names[0] != names[1]:
        return float("inf")
    return max(furthest_tensor(folders[0] / name, folders[1] / name) for name in names[0])


def furthest_tensor(one: Path, other: Path) -> float:
    tensors, others = load_file(one), load_file(other)
    if tensors.keys() != others.keys():
        return float("inf")
    shares = [
        float(abs(tensor - others[name]).max()) / max(float(abs(tensor).max()), 1e-30)
        for name, tensor in tensors.items()
        if tensor.size
    ]
    return max(shares)
