"""A masked model as ONNX: `input_ids` and `attention_mask` (int64, a row a text) in, `logits` out, in fp32.

    model.onnx        rows of any number and length up to the model's positions
    model-128.onnx    CANINE: rows of this length exactly, any number of them

CANINE's local attention walks over the row in steps that the graph has to know, so each length is a file of its own.
A text of n characters, its two marks counted, fits a file of length L where 4 * ceil(n / 4) + 8 <= L: the encoder drops
its last group of four, and L is counted with that padding (schemas/characters.py).

Before the directory gets its name, onnxruntime answers rows of ten lengths, each with a shorter one beside it, and is
compared with torch; a difference above BOUND leaves nothing behind.
"""

import logging
import shutil
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import AutoTokenizer, CanineModel, PreTrainedModel

from runjob.runner.worker.export import load_network, replace_directory
from runjob.runner.worker.models.canine import CanineForMaskedLM
from runjob.runner.worker.models.configs import ids_in, positions_of
from runjob.runner.worker.models.loading import task_of
from runjob.schemas.characters import BEHIND, CHUNK, RATE, longest_row, padded_length
from runjob.schemas.errors import CheckpointError, JobError, MissingError

# Largest difference of a logit, as a share of the largest one; measured on small models of six families: below 1e-6
BOUND = 1e-4
COMPARED = 10
# The row length of the canine-mlm scripts, and of CANINE's local attention
USUAL_LENGTH = 128
# Beyond this, rows of CANINE are whole chunks of its local attention
LONGEST_CHUNK = padded_length(CHUNK - BEHIND)
# Rows of the comparison are no longer than this, whatever the model can read
LONGEST = 512
# A protobuf file holds no more than 2 GiB
LARGEST = 2**31 - 2**24
NEEDED = ("onnx", "onnxscript", "onnxruntime")


@dataclass(frozen=True, kw_only=True)
class OnnxFile:
    """`length` where rows have exactly that one, else None; `module` is what the file computes."""

    name: str
    length: int | None
    module: nn.Module


@dataclass(frozen=True, kw_only=True)
class Parity:
    """`difference`: the largest one of a logit, as a share of the largest logit."""

    length: int
    difference: float


class Answers(nn.Module):
    """A masked model as a function of two tensors."""

    def __init__(self, network: PreTrainedModel) -> None:
        super().__init__()
        self.network = network

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.network(input_ids=input_ids, attention_mask=attention_mask).logits
        return logits


class PaddedAnswers(nn.Module):
    """CANINE for rows that are already padded: the encoder as transformers has it, and our head."""

    def __init__(self, network: CanineForMaskedLM) -> None:
        super().__init__()
        self.network = network

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        hidden = CanineModel.forward(self.network.canine, input_ids, attention_mask=attention_mask).last_hidden_state
        logits: torch.Tensor = self.network.head(hidden)
        return logits


def export_onnx(source: Path, target: Path, *, lengths: tuple[int, ...], tell: Callable[[str], None]) -> None:
    """A directory with the file or files, the configuration, tokenizer and card of the model in `source`."""
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise MissingError(f"--format onnx needs {', '.join(missing)}; type: pip install 'runjob[onnx]'")
    network = load_network(source)
    if (task := task_of(network.config)) != "mlm":
        raise JobError(f"{source}: --format onnx is for models of objective mlm, and this one is of {task}; write hf")
    files = files_of(network, lengths)
    padding = AutoTokenizer.from_pretrained(source, local_files_only=True).pad_token_id or 0

    def write(directory: Path) -> None:
        shutil.copytree(source, directory, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.safetensors*"))
        for file in files:
            write_graph(file, directory / file.name, longest=positions_of(network.config) or LONGEST)

    def verify(directory: Path) -> None:
        for file in files:
            found = list(compare(file, directory / file.name, network, padding=padding))
            tell(f"{target / file.name}: largest difference from torch, as a share of the largest logit")
            for parity in found:
                tell(f"  {parity.length:4} tokens  {parity.difference:.1e}")
            refuse_unequal(file, found)

    replace_directory(target, write, verify)
    tell(f"all within the bound of {BOUND:g}")


def files_of(network: PreTrainedModel, lengths: tuple[int, ...]) -> list[OnnxFile]:
    if not isinstance(network, CanineForMaskedLM):
        if lengths:
            raise JobError("--length is for CANINE; this model's file takes rows of any length")
        return [OnnxFile(name="model.onnx", length=None, module=Answers(network).eval())]
    # the table of positions has a row for each hash bucket, and the configuration may say fewer
    positions = min(network.config.max_position_embeddings, network.config.num_hash_buckets)
    for length in lengths:
        if longest_text(length) == 0:
            raise JobError(f"--length {length}: CANINE's rows are 4 k + 8 long, as 12, 24, 48, or chunks of {CHUNK}")
        if length > positions:
            raise JobError(f"--length {length}: the model has {positions} positions; write {positions // RATE * RATE}")
    module = PaddedAnswers(network).eval()
    wanted = sorted(set(lengths)) or [min(USUAL_LENGTH, positions // RATE * RATE)]
    return [OnnxFile(name=f"model-{length}.onnx", length=length, module=module) for length in wanted]


def write_graph(file: OnnxFile, path: Path, *, longest: int) -> None:
    length = file.length or 8
    rows, mask = torch.ones((2, length), dtype=torch.int64), torch.ones((2, length), dtype=torch.int64)
    mask[1, -3:] = 0  # a mask of ones alone could be left out of the graph
    shape: dict[int, Any] = {0: torch.export.Dim("rows", min=1)}
    if file.length is None:
        shape[1] = torch.export.Dim("length", min=2, max=longest)
    size = sum(parameter.numel() * parameter.element_size() for parameter in file.module.parameters())
    # The exporter reports on packages and internals that are no business of the reader's
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            file.module,
            (rows, mask),
            path,
            input_names=["input_ids", "attention_mask"],
            output_names=["logits"],
            dynamic_shapes=(shape, shape),
            external_data=size > LARGEST,
            dynamo=True,
            verbose=False,
        )


def compare(file: OnnxFile, path: Path, network: PreTrainedModel, *, padding: int) -> Iterator[Parity]:
    """Rows of ten lengths through the file, and each by itself, without padding, through the network."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    generator = np.random.Generator(np.random.Philox(0))
    for length in compared_lengths(file, network):
        width = length if file.length is None else file.length
        texts = [generator.integers(1, ids_in(network.config), size) for size in (length, max(length - 3, 2))]
        rows, mask = np.full((2, width), padding, dtype=np.int64), np.zeros((2, width), dtype=np.int64)
        for number, text in enumerate(texts):
            # a padding id in the text would be no text to the families that count positions by it
            rows[number, : len(text)] = np.where(text == padding, text + 1, text)
            mask[number, : len(text)] = 1
        [found] = session.run(["logits"], {"input_ids": rows, "attention_mask": mask})
        yield Parity(length=length, difference=largest_difference(network, rows, mask, found))


def largest_difference(network: PreTrainedModel, rows: Any, mask: Any, found: Any) -> float:  # noqa: ANN401
    worst, largest = 0.0, 0.0
    for row, seen, answer in zip(rows, mask.astype(bool), found, strict=True):
        with torch.inference_mode():
            expected = network(torch.from_numpy(row[seen][None])).logits[0].numpy()
        worst = float(np.maximum(worst, np.abs(expected - answer[seen]).max()))  # NaN stays NaN
        largest = max(largest, float(np.abs(expected).max()))
    return worst / largest if largest else worst


def compared_lengths(file: OnnxFile, network: PreTrainedModel) -> list[int]:
    """Ten from the shortest text to the longest that fits; all of them where fewer fit."""
    longest = min(positions_of(network.config) or LONGEST, LONGEST)
    if file.length is not None:
        longest = longest_text(file.length)
    return sorted({int(length) for length in np.linspace(2, longest, COMPARED)})


def longest_text(length: int) -> int:
    """Characters that fit a row of this length, marks counted; 0 where CANINE has no such rows."""
    if length % RATE or (length > LONGEST_CHUNK and length % CHUNK):
        return 0
    return max(longest_row(length), 0)


def refuse_unequal(file: OnnxFile, found: list[Parity]) -> None:
    # not `>`: a NaN is no parity either
    wrong = [parity for parity in found if not parity.difference <= BOUND]
    if wrong:
        shown = ", ".join(f"{parity.difference:.1e} at {parity.length} tokens" for parity in wrong[:3])
        raise CheckpointError(f"{file.name}: onnxruntime answers differently ({shown}; the bound is {BOUND:g})")
