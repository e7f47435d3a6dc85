"""The two small exchanges of a step, over a gloo group of their own so that a GPU is never waited for: before the first
backward the ranks learn the true token count, the samples' digests and whether to stop; after the last one each other's
losses, and how long each computed. Sums run in rank order, so equal ranks give equal bits."""

import struct
from dataclasses import dataclass

import torch
from torch import distributed

DIGEST_BYTES = 32
_BEFORE = struct.Struct("<5q")
_AFTER = struct.Struct("<2d")
_COUNT = struct.Struct("<q")
Stop = int
# A stream that was given up, then the machine's word, then the user's: the strongest wins
GO_ON, GIVEN_UP, PREEMPT, CANCEL = 0, 1, 2, 3


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """What all ranks know before a step: predicted and input tokens of the global batch, its samples' digests (those of
    one rank after another), the strongest request to stop, and what rank 0's clock says is due after the step."""

    predicted: int
    tokens: int
    digests: tuple[bytes, ...]
    stop: Stop
    evaluate: bool
    save: bool


class Exchange:
    def __init__(self) -> None:
        self.rank = distributed.get_rank()
        self.ranks = distributed.get_world_size()
        self.group = distributed.new_group(backend="gloo") if self.ranks > 1 else None

    def before(
        self, *, predicted: int, tokens: int, digests: tuple[bytes, ...], stop: Stop, evaluate: bool, save: bool
    ) -> Agreement:
        mine = _BEFORE.pack(predicted, tokens, stop, evaluate, save) + b"".join(digests)
        all_ranks = [(_BEFORE.unpack(raw[: _BEFORE.size]), raw[_BEFORE.size :]) for raw in self._gather(mine)]
        numbers = [numbers for numbers, _ in all_ranks]
        return Agreement(
            predicted=sum(each[0] for each in numbers),
            tokens=sum(each[1] for each in numbers),
            stop=max(each[2] for each in numbers),
            evaluate=bool(numbers[0][3]),
            save=bool(numbers[0][4]),
            digests=tuple(
                raw[start : start + DIGEST_BYTES] for _, raw in all_ranks for start in range(0, len(raw), DIGEST_BYTES)
            ),
        )

    def after(self, loss_sum: float, *, seconds: float) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Every rank's summed loss, and every rank's seconds, in rank order."""
        each = [_AFTER.unpack(raw) for raw in self._gather(_AFTER.pack(loss_sum, seconds))]
        return tuple(loss for loss, _ in each), tuple(seconds for _, seconds in each)

    def summed(self, mine: torch.Tensor) -> torch.Tensor:
        """Of all ranks, number by number; int64."""
        each = [torch.frombuffer(bytearray(raw), dtype=torch.int64) for raw in self._gather(mine.numpy().tobytes())]
        return torch.stack(each).sum(0)

    def joined(self, mine: torch.Tensor) -> torch.Tensor:
        """The rows of all ranks, one rank after another; fp32 of one width."""
        counts = [_COUNT.unpack(raw)[0] for raw in self._gather(_COUNT.pack(len(mine)))]
        filled = torch.zeros(max(counts), *mine.shape[1:])
        filled[: len(mine)] = mine
        each = [torch.frombuffer(bytearray(raw), dtype=torch.float32) for raw in self._gather(filled.numpy().tobytes())]
        parts = [part.view_as(filled)[:count] for part, count in zip(each, counts, strict=True)]
        return torch.cat(parts)

    def all_have(self, mine: bool) -> bool:
        """Do all ranks have what this one has?"""
        return all(raw != bytes(1) for raw in self._gather(bytes([mine])))

    def from_first(self, tensor: torch.Tensor | None) -> torch.Tensor:
        """Rank 0's tensor, in main memory; the others have none of their own."""
        message = [None if tensor is None else (tensor.shape, tensor.dtype)]
        if self.ranks > 1:
            distributed.broadcast_object_list(message, src=0, group=self.group)
        assert message[0] is not None
        if tensor is None:
            shape, dtype = message[0]
            tensor = torch.empty(shape, dtype=dtype)
        if self.ranks > 1:
            distributed.broadcast(tensor, src=0, group=self.group)
        return tensor

    def _gather(self, mine: bytes) -> list[bytes]:
        """Equal-length messages of all ranks, in rank order."""
        if self.group is None:
            return [mine]
        send = torch.frombuffer(bytearray(mine), dtype=torch.uint8)
        received = [torch.empty_like(send) for _ in range(self.ranks)]
        distributed.all_gather(received, send, group=self.group)
        return [tensor.numpy().tobytes() for tensor in received]
