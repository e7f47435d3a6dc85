"""A stream's blocks are on one disk: ranks on machines that don't see it are told so, all of them."""

import os
import socket
import subprocess
import sys
from pathlib import Path

RANK = """
import sys
from pathlib import Path
from torch import distributed
from runjob.runner.worker.exchange import Exchange
from runjob.runner.worker.shared_disk import refuse_unshared
from runjob.schemas.errors import DataError

distributed.init_process_group("gloo")
exchange = Exchange()
refuse_unshared(Path(sys.argv[1]), exchange, within_s=5)
print("shared")
try:
    refuse_unshared(Path(sys.argv[2]), exchange, within_s=0.5)
except DataError as error:
    print(error)
distributed.barrier()
distributed.destroy_process_group()  # a group that is left to the end of Python is at times ended by an abort
"""


def test_nodes_without_a_disk_in_common_are_refused(tmp_path: Path) -> None:
    folders = [tmp_path / "one", tmp_path / "other"]
    for folder in (tmp_path / "both", *folders):
        folder.mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    group = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": "1"}
    ranks = [
        subprocess.Popen(
            (sys.executable, "-c", RANK, tmp_path / "both", folders[rank]),
            env={**os.environ, **group, "RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    for rank, (said, errors) in enumerate([process.communicate(timeout=120) for process in ranks]):
        assert ranks[rank].returncode == 0, errors
        shared, refused = [line for line in said.splitlines() if line.startswith(("shared", "data."))]
        assert shared == "shared"
        assert refused == (
            f"data.streaming: the blocks that one reader writes into {folders[rank]} can't be seen on "
            f"{socket.gethostname()}: the nodes share no disk there; set RUNJOB_CACHE to a directory that all of them "
            f"share, or write nodes: 1"
        )
    assert not list((tmp_path / "both").iterdir())
