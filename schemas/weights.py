"""Which weights these are: one number of a model directory, for a job that starts from them."""

import hashlib
from pathlib import Path

from runjob.schemas.errors import RunjobError

# The tokenizer of an earlier run, as data.tokenizer.path names it
RUN_PREFIX = "run:"


def weights_sha256(model: Path) -> str:
    """The sha256 of its safetensors, one after another in the order of their names: of one file, that file's own.
    RunjobError where there is none, or one can't be read."""
    files = sorted(model.glob("*.safetensors"))
    if not files:
        raise RunjobError(f"{model}: holds no *.safetensors")
    digest = hashlib.sha256()
    try:
        for path in files:
            with path.open("rb") as file:
                while piece := file.read(1 << 20):
                    digest.update(piece)
    except OSError as error:
        raise RunjobError(f"{path}: can't be read: {error}") from error
    return digest.hexdigest()
