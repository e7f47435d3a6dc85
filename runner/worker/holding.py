"""A checkpoint that must not vanish while it is read: hard links to its files, since the training prunes old ones when
it likes. They cost no room as long as the checkpoint itself is there."""

import contextlib
import os
import shutil
from pathlib import Path

from runjob.schemas.manifest import folder_name
from runjob.schemas.run import RunDir


def hold(run: RunDir, step: int) -> Path:
    """A folder with the same files. FileNotFoundError if the checkpoint was pruned meanwhile. Where the file system has
    no links it is the checkpoint's own folder, and may be pruned while it is read."""
    source, held = run.checkpoints / folder_name(step), _place(run, step)
    shutil.rmtree(held, ignore_errors=True)
    held.mkdir(parents=True, mode=0o700)
    for file in source.iterdir():
        try:
            os.link(file, held / file.name)
        except FileNotFoundError:
            raise
        except OSError:
            shutil.rmtree(held)
            return source
    return held


def release(run: RunDir, step: int) -> None:
    shutil.rmtree(_place(run, step), ignore_errors=True)
    with contextlib.suppress(OSError):  # another one is in it, or it never was
        _place(run, step).parent.rmdir()


def _place(run: RunDir, step: int) -> Path:
    return run.path / ".upload" / folder_name(step)
