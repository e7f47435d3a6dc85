"""The random bits of one dropout: a key, from which the kernels make the bits of every element by its place. The key is
drawn from torch's own generator, which the engine seeds for each micro batch and torch.utils.checkpoint winds back for
layers that are computed twice; so masks stay a function of (seed, position)."""

from dataclasses import dataclass

import torch

WORD = 2**32


@dataclass(frozen=True, kw_only=True)
class Draw:
    """An element stays where its 32 bits reach `threshold`, and is then `kept` times as large."""

    key: int
    threshold: int
    kept: float


NOTHING_DROPPED = Draw(key=0, threshold=0, kept=1.0)


def draw(probability: float) -> Draw:
    if probability == 0.0:
        return NOTHING_DROPPED
    threshold = min(round(probability * WORD), WORD - 1)
    kept = 1.0 / (1.0 - threshold / WORD) if probability < 1.0 else 0.0
    return Draw(key=int(torch.randint(2**63 - 1, ())), threshold=threshold, kept=kept)
