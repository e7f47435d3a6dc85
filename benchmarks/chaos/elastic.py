"""A run that goes on in other pieces: 1, 2, 4 and 1 ranks, with another ZeRO stage and another micro batch at each
resume. The batches must be the same to the last digest, and losses and at each change both moments within what the
promise gives for another number of ranks (1e-4, fp32, dropout 0) of those of the run that nobody touched; what the
second attempt is handed, weights and moments, is the same to the last bit."""

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
# Which rows share a mask hangs on the micro batches, so every dropout is off
DRY = {"modernbert_student": (), "mpnet": ("model.init.dropout=0.0", "model.init.attention_dropout=0.0")}
EXACT = ("step", "batch", "tokens", "predicted", "samples", "learning_rate")


def trials(place: Place, references: References, chance: random.Random, enough: Enough) -> Iterator[Named]:
    jobs = sorted(OWN)
    chance.shuffle(jobs)
    for number, name in enumerate(jobs):
        if enough(number):
            return
        dry = DRY.get(name, ("model.init.dropout=0.0",))
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
    moments = max(furthest_state(unbroken, run, until) for until, *_ in PIECES)
    differs = losses is None or max(losses, moments) > TOLERANCE or not same_to_the_bit(unbroken, run, PIECES[0][0])
    said = f"at most {losses} relative in a loss, {moments:.1e} of the largest in a moment"
    return Trial(differing=differs, detected=True, note=f"{job.name}: {said}")


def furthest(one: list[dict[str, Any]], other: list[dict[str, Any]]) -> float | None:
    """The largest relative difference of a loss; None where a batch, a count or a rate differs."""
    if [[record[name] for name in EXACT] for record in one] != [[record[name] for name in EXACT] for record in other]:
        return None
    return max(abs(a["loss"] - b["loss"]) / abs(a["loss"]) for a, b in zip(one, other, strict=True))


def furthest_state(one: RunDir, other: RunDir, step: int) -> float:
    """The largest difference of a moment at this step, as a share of the largest moment of its kind. (Not of its
    tensor, and not of the weights: the bias of an attention's keys has no gradient but rounding, which Adam scales up.)
    """
    folders = [run.checkpoints / folder_name(step) for run in (one, other)]
    return max(furthest_moment(load(folders[0], kind), load(folders[1], kind)) for kind in ("exp_avg", "exp_avg_sq"))


def load(folder: Path, kind: str) -> dict[str, Any]:
    """The tensors of one kind by name."""
    return {name: tensor for file in folder.glob(f"{kind}-*.safetensors") for name, tensor in load_file(file).items()}


def furthest_moment(one: dict[str, Any], other: dict[str, Any]) -> float:
    if not one or one.keys() != other.keys():
        return float("inf")
    largest = max(float(abs(tensor).max()) for tensor in one.values())
    return max(float(abs(tensor - other[name]).max()) for name, tensor in one.items()) / largest


def same_to_the_bit(one: RunDir, other: RunDir, step: int) -> bool:
    files = [sorted((run.checkpoints / folder_name(step)).glob("*.safetensors")) for run in (one, other)]
    return [file.read_bytes() for file in files[0]] == [file.read_bytes() for file in files[1]]
