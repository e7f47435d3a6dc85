"""What all columns of a row begin with, made once: the text, the tokenizer and the network with its first weights in
the form of transformers. A process of its own (`python -m benchmarks.speed.inputs ROW FOLDER [LINES]`), so that the
bench itself holds no torch while others are timed."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks.speed.corpora import shuffled
from benchmarks.speed.processes import ROOT, execute
from benchmarks.speed.workloads import WORKLOADS, Workload

# Lines that runjob evaluates on once, after the last timed step; peers never see them
VALIDATION_LINES = 16
SEED = 1


@dataclass(frozen=True, kw_only=True)
class Inputs:
    text: Path
    validation: Path
    model: Path


def make_inputs(row: str, folder: Path, *, lines: int | None) -> Inputs:
    """The folder's, made if this is the first call."""
    inputs = Inputs(text=folder / "train.txt", validation=folder / "validation.txt", model=folder / "model")
    if not inputs.model.is_dir():
        said = [row, str(folder.absolute()), *([] if lines is None else [str(lines)])]
        execute([sys.executable, "-m", "benchmarks.speed.inputs", *said], os.environ, ROOT)
    return inputs


def write_text(workload: Workload, folder: Path, *, lines: int | None) -> list[str]:
    """The `lines` that are trained on (None: all); the answer is those that a tokenizer learns from."""
    mixed = shuffled(workload.text())
    validation, train = mixed[:VALIDATION_LINES], mixed[VALIDATION_LINES:]
    for name, some in (("validation.txt", validation), ("train.txt", train[:lines])):
        (folder / name).write_text("\n".join(some) + "\n", encoding="utf-8")
    return train


def write_model(workload: Workload, lines: list[str], folder: Path) -> None:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForMaskedLM

    import runjob.runner.worker.models.canine  # noqa: F401 - registers the CANINE with a head
    from runjob.data import tokenizers

    where, making = folder / "model", folder / "model.tmp"
    sizes = dict(workload.network)
    torch.manual_seed(SEED)
    if workload.tokenizer is not None:
        tokenizer = workload.tokenizer(lines)
        tokenizers.save(tokenizer, making)
        sizes |= {"pad_token_id": tokenizer.pad_token_id}
    config = AutoConfig.for_model(str(sizes.pop("model_type")), **sizes)
    kind = AutoModelForCausalLM if workload.objective["kind"] == "clm" else AutoModelForMaskedLM
    kind.from_config(config).save_pretrained(making)
    making.rename(where)


def main(row: str, folder: Path, lines: int | None) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    workload = WORKLOADS[row]
    write_model(workload, write_text(workload, folder, lines=lines), folder)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]) if sys.argv[3:] else None)
