"""Are these another program's tensors all that a network wants, each in its shape? Asked before any of them is loaded,
so that nothing of an imported model is new and random."""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from runjob.schemas.errors import CheckpointError

Tensors = dict[str, torch.Tensor]


def refuse_foreign_tensors(source: Path, tensors: Tensors, build: Callable[[], nn.Module], *, family: str) -> None:
    """CheckpointError unless they are; `build` makes the network of their sizes."""
    try:
        with torch.device("meta"):
            wanted = {name: tuple(value.shape) for name, value in build().named_parameters()}
    except (ValueError, TypeError) as error:  # sizes that do not go together, or are none
        raise CheckpointError(f"{source}: its sizes describe no network: {error}") from error
    have = {name: tuple(value.shape) for name, value in tensors.items()}
    wrong = sorted(name for name in wanted.keys() | have.keys() if wanted.get(name) != have.get(name))
    if wrong:
        name = wrong[0]
        raise CheckpointError(
            f"{source}: {len(wrong)} tensors are not those of {family} of its sizes, the first {name}: "
            f"{have.get(name, 'missing')} there, {wanted.get(name, 'nothing')} expected"
        )
