"""Rows to tensors: a micro batch is what one forward pass takes, with what the loop must know about it.

Legend: B rows of the micro batch, W their width. In layout pack every micro batch is as wide as the job's sequence
length; in layout lines as its longest row. A shorter row is filled up on its right with positions that are masked out
and predict nothing.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from runjob.data.rows import Row, Rows

IGNORED = -100  # torch's cross_entropy leaves out labels of this value
FILLER = 0  # an id every vocabulary has; masked out and without a label, so it is never seen


@dataclass(frozen=True, kw_only=True)
class MicroBatch:
    """`tensors` are what the network is called with: `input_ids`, `labels`, and `attention_mask` where a row is filled
    up; with documents apart `position_ids`, from 0 in each document, and no mask, since they say it all (a filled-up
    position is a document by itself); `order` where the rows bring one. `first_sample` is the global position of the
    first row; dropout is keyed by it.
    """

    tensors: dict[str, torch.Tensor]
    first_sample: int
    predicted: int
    tokens: int
    digests: tuple[bytes, ...]


def make_micro_batch(rows: Sequence[Row], numbers: Sequence[int], *, width: int, first_sample: int) -> MicroBatch:
    """The micro batch of these rows, in this order, filled up to `width`; `numbers` say which rows they are."""
    input_ids_BW = np.full((len(rows), width), FILLER, dtype=np.int64)
    labels_BW = np.full((len(rows), width), IGNORED, dtype=np.int64)
    attention_mask_BW = np.zeros((len(rows), width), dtype=np.int64)
    position_ids_BW = np.zeros((len(rows), width), dtype=np.int64)
    order_BW = np.full((len(rows), width), -1, dtype=np.int64)
    for index, row in enumerate(rows):
        length = len(row.input_ids)
        input_ids_BW[index, :length] = row.input_ids
        labels_BW[index, :length] = row.labels
        attention_mask_BW[index, :length] = 1
        if row.position_ids is not None:
            position_ids_BW[index, :length] = row.position_ids
        if row.order is not None:
            order_BW[index, :length] = row.order
    tokens = int(attention_mask_BW.sum())
    tensors = {"input_ids": torch.from_numpy(input_ids_BW), "labels": torch.from_numpy(labels_BW)}
    if rows[0].position_ids is not None:
        tensors["position_ids"] = torch.from_numpy(position_ids_BW)
    elif tokens < attention_mask_BW.size:  # without padding the kernels are faster with no mask at all
        tensors["attention_mask"] = torch.from_numpy(attention_mask_BW)
    if rows[0].order is not None:
        tensors["order"] = torch.from_numpy(order_BW)
    return MicroBatch(
        tensors=tensors,
        first_sample=first_sample,
        predicted=int((labels_BW != IGNORED).sum()),
        tokens=tokens,
        digests=tuple(sample_digest(number, row) for number, row in zip(numbers, rows, strict=True)),
    )


def make_idle_batch(rows: Rows, *, first_sample: int) -> MicroBatch:
    """A micro batch that counts for nothing, for a rank that has run out of rows while others have not.

    It is a real row without labels and not a row of padding: attention over nothing is NaN in some kernels.
    """
    row = rows.row(0, position=None)
    nothing = Row(
        input_ids=row.input_ids,
        labels=np.full_like(row.labels, IGNORED),
        position_ids=row.position_ids,
        order=None if row.order is None else np.full_like(row.order, -1),
    )
    micro = make_micro_batch([nothing], [0], width=len(row.input_ids), first_sample=first_sample)
    return MicroBatch(tensors=micro.tensors, first_sample=first_sample, predicted=0, tokens=0, digests=())


def sample_digest(number: int, row: Row) -> bytes:
    """sha256 over which row it is and what the engine gets of it, padding left out."""
    digest = hashlib.sha256(number.to_bytes(8, "little", signed=True))
    digest.update(row.input_ids.astype("<i8").tobytes())
    digest.update(row.labels.astype("<i8").tobytes())
    if row.order is not None:
        digest.update(row.order.astype("<i8").tobytes())
    return digest.digest()


def batch_digest(digests: Iterable[bytes]) -> str:
    """The `batch` of a train event: 16 hex digits for a step's samples, given in global sample order."""
    return hashlib.sha256(b"".join(digests)).hexdigest()[:16]
