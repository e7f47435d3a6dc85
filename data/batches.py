"""Rows to tensors: a micro batch is what one forward pass takes, with what the loop must know about it.

Legend: B rows of the micro batch, L the job's sequence length. Every micro batch is L wide; a row shorter than that
(only the last of a corpus) is filled up with positions that are masked out and predict nothing.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from runjob.data.store import PackedRows

IGNORED = -100  # torch's cross_entropy leaves out labels of this value
FILLER = 0  # an id every vocabulary has; masked out and without a label, so it is never seen


@dataclass(frozen=True, kw_only=True)
class MicroBatch:
    """`first_sample` is the global position of the first row; dropout is keyed by it."""

    tensors: dict[str, torch.Tensor]
    first_sample: int
    predicted: int
    tokens: int
    digests: tuple[bytes, ...]


def make_micro_batch(rows: PackedRows, numbers: Sequence[int], *, first_sample: int) -> MicroBatch:
    """The micro batch of these rows, in this order."""
    pairs = [rows.row(number) for number in numbers]
    shape = (len(pairs), rows.sequence_length)
    input_ids_BL = np.full(shape, FILLER, dtype=np.int64)
    labels_BL = np.full(shape, IGNORED, dtype=np.int64)
    attention_mask_BL = np.zeros(shape, dtype=np.int64)
    for index, (input_ids, labels) in enumerate(pairs):
        input_ids_BL[index, : len(input_ids)] = input_ids
        labels_BL[index, : len(labels)] = labels
        attention_mask_BL[index, : len(input_ids)] = 1
    tokens = int(attention_mask_BL.sum())
    tensors = {"input_ids": torch.from_numpy(input_ids_BL), "labels": torch.from_numpy(labels_BL)}
    if tokens < attention_mask_BL.size:  # without padding the causal kernels are faster with no mask at all
        tensors["attention_mask"] = torch.from_numpy(attention_mask_BL)
    return MicroBatch(
        tensors=tensors,
        first_sample=first_sample,
        predicted=int((labels_BL != IGNORED).sum()),
        tokens=tokens,
        digests=tuple(sample_digest(number, *pair) for number, pair in zip(numbers, pairs, strict=True)),
    )


def make_idle_batch(rows: PackedRows, *, first_sample: int) -> MicroBatch:
    """A micro batch that counts for nothing, for a rank that has run out of rows while others have not.

    It is a real row without labels and not a row of padding: attention over nothing is NaN in some kernels.
    """
    input_ids_L = np.full(rows.sequence_length, FILLER, dtype=np.int64)
    first = rows.row(0)[0]
    input_ids_L[: len(first)] = first
    labels_L = np.full(rows.sequence_length, IGNORED, dtype=np.int64)
    tensors = {"input_ids": torch.from_numpy(input_ids_L[None]), "labels": torch.from_numpy(labels_L[None])}
    return MicroBatch(tensors=tensors, first_sample=first_sample, predicted=0, tokens=0, digests=())


def sample_digest(number: int, input_ids: npt.NDArray[np.int64], labels: npt.NDArray[np.int64]) -> bytes:
    """sha256 over which row it is and what the engine gets of it, padding left out."""
    digest = hashlib.sha256(number.to_bytes(8, "little", signed=True))
    digest.update(input_ids.astype("<i8").tobytes())
    digest.update(labels.astype("<i8").tobytes())
    return digest.digest()


def batch_digest(digests: Iterable[bytes]) -> str:
    """The `batch` of a train event: 16 hex digits for a step's samples, given in global sample order."""
    return hashlib.sha256(b"".join(digests)).hexdigest()[:16]
