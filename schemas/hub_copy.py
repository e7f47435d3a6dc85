"""Where the configuration of a pretrained model lies on this machine: sizes and family are read without a network."""

import os
from pathlib import Path

from runjob.schemas.job_model import FinishedInit


def hub_cache() -> Path:
    """Where huggingface_hub keeps what it fetched (its documented variables, in its order)."""
    if os.environ.get("HF_HUB_CACHE"):
        return Path(os.environ["HF_HUB_CACHE"])
    root = os.environ.get("HF_HOME") or str(Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface")
    return Path(root).expanduser() / "hub"


def configuration_file(init: FinishedInit) -> Path:
    """Of a directory, or of the Hub's cache, where refs/ says which commit a revision is. It need not be there."""
    if Path(init.path).is_absolute():  # read_job has made paths absolute; what is left is a name
        return Path(init.path) / "config.json"
    copy = hub_cache() / f"models--{init.path.replace('/', '--')}"
    wanted = init.revision or "main"
    named = copy / "refs" / wanted
    commit = named.read_text(encoding="utf-8").strip() if named.is_file() else wanted
    return copy / "snapshots" / commit / "config.json"
