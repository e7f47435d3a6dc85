"""No link inside a run directory leads out of it. A run may come from a stranger's archive or host, and a link in it
named like one of our files would have `resume` write over whatever it names, or `upload` send that away; so whoever is
about to write in a run looks first."""

import os
from collections.abc import Iterator
from pathlib import Path

from runjob.schemas.errors import RunjobError
from runjob.schemas.run import RunDir


def refuse_links_out(run: RunDir) -> None:
    """RunjobError with the first link that leads out of the run."""
    for link in links_out(run):
        raise RunjobError(
            f"{link}: is a link that leads out of the run, to {link.readlink()}, and nothing is written or sent "
            f"through it; put the files themselves there, or ask whoever gave you {run.id} why it is there"
        )


def links_out(run: RunDir) -> Iterator[Path]:
    """Files in wandb/ aside: Weights & Biases links a log of its own there, and nobody of ours writes or sends it."""
    inside = run.path.resolve()
    for folder, folders, files in os.walk(run.path):
        for name in (*folders, *files):
            path = Path(folder, name)
            if not path.is_symlink() or path.resolve().is_relative_to(inside):
                continue
            if run.wandb not in path.parents or path.is_dir():
                yield path
