"""Checkpoints of other programs that are pickles. A pickle may run code when it is read, so these are read by torch's
`weights_only`, which runs none, with argparse.Namespace allowed by name: training scripts like to keep their options
in one. Anything else is refused with what was found, unless its owner vouches for it."""

import argparse
import pickle
from pathlib import Path
from typing import Any

import torch

from runjob.schemas.errors import CheckpointError


def read_pickle(file: Path, *, trusted: bool, otherwise: str) -> Any:  # noqa: ANN401 - whatever was saved
    """What the file holds; `otherwise` says what to do where it holds more than values."""
    try:
        if trusted:
            return torch.load(file, map_location="cpu", weights_only=False)
        with torch.serialization.safe_globals([argparse.Namespace]):
            if foreign := sorted(torch.serialization.get_unsafe_globals_in_checkpoint(file)):
                raise CheckpointError(
                    f"{file}: not read, since a pickle may run code and this one holds more than tensors, plain values "
                    f"and an argparse.Namespace: {', '.join(foreign)}; {otherwise}"
                )
            return torch.load(file, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, ValueError, RuntimeError, EOFError) as error:
        # torch's own words go on with how to read it all the same, code and all
        reason = " ".join(str(error).split("This file can still be loaded")[0].split())[:200]
        raise CheckpointError(f"{file}: can't be read: {reason}") from error
