"""Do all machines of a run see one folder? What one process writes there is then read by all ranks."""

import contextlib
import os
import socket
import time
from pathlib import Path

from torch import distributed

from runjob.runner.worker.exchange import Exchange
from runjob.schemas.errors import DataError
from runjob.schemas.run import sync_path

# A network file system shows a new file to other machines when its cache of the folder expires: a minute at most.
SHARED_WITHIN_S = 90.0


def refuse_unshared(folder: Path, exchange: Exchange, *, within_s: float = SHARED_WITHIN_S) -> None:
    """DataError if some machine does not see the blocks that the reader writes. Collective."""
    if exchange.ranks == 1:
        return
    sign = folder / ".seen"
    if exchange.rank == 0:
        sign.touch()
        sync_path(folder)
    distributed.barrier()
    until = time.monotonic() + within_s
    while not sign.exists() and time.monotonic() < until:
        time.sleep(0.1)
        with contextlib.suppress(FileNotFoundError):
            os.listdir(folder)  # noqa: PTH208 - makes a network file system look again
    seen: list[str | None] = [None] * exchange.ranks
    distributed.all_gather_object(seen, None if sign.exists() else socket.gethostname())
    if exchange.rank == 0:
        sign.unlink()
    if blind := sorted({host for host in seen if host is not None}):
        raise DataError(
            f"data.streaming: the blocks that one reader writes into {folder} can't be seen on {', '.join(blind)}: the "
            f"nodes share no disk there; set RUNJOB_CACHE to a directory that all of them share, or write nodes: 1"
        )
