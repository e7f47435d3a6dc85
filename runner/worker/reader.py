"""The one process of a run that reads a stream, started by rank 0:
`python -m runjob.runner.worker.reader RUN TEXT_TOKENS_A_ROW eos|-`, the last two as the objective cuts its rows.

    rank 0  ->  stdin: "first last" positions that the running steps need, a line a step  ->  this process
    this process  ->  RUN/stream/index.jsonl and the blocks in the cache  ->  all ranks, which only read

It works ahead at a low priority, keeps to the disk budget and tries again what breaks off. It ends when its stdin does,
so it never outlives rank 0; what it can't go on with stands in RUN/stream/failure.json, where every rank looks.
"""

import dataclasses
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from runjob.data.block_keeper import BlockKeeper
from runjob.data.block_maker import BlockMaker
from runjob.data.block_rows import StreamStopped
from runjob.data.blocks import Folder, Index
from runjob.data.patience import WAITS_S, patiently
from runjob.data.rows import Rows, open_rows
from runjob.data.store import Side, Store
from runjob.data.streaming import open_streamed
from runjob.data.streaming_prepare import read_engine, read_start
from runjob.runner.worker.faults import waits_s
from runjob.schemas.causes import causes_json
from runjob.schemas.errors import RunjobError
from runjob.schemas.job_data import Data, HubData
from runjob.schemas.job_json import read_job_json
from runjob.schemas.lifeline import die_with_parent
from runjob.schemas.manifest import folders_in
from runjob.schemas.quantities import parse_size
from runjob.schemas.run import RunDir, write_json

# Training goes before reading ahead; where it waits for a block, nobody else wants the processor.
NICENESS = 10


class Wishes:
    """The newest line of stdin, listened to by a thread; the process ends with stdin."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._newest: range | None = None
        threading.Thread(target=self._listen, daemon=True).start()

    def after(self, seen: range | None) -> range:
        """The newest one, waited for until it is another than `seen`."""
        with self._changed:
            while self._newest is None or self._newest == seen:
                self._changed.wait()
            return self._newest

    def newest(self) -> range:
        return self.after(None)

    def _listen(self) -> None:
        for line in sys.stdin:
            first, last = line.split()
            with self._changed:
                self._newest = range(int(first), int(last))
                self._changed.notify()
        os._exit(0)  # past the interpreter's shutdown: it would wait for a read that hangs


def main(run: RunDir, cut: Callable[[Side, Data], Rows]) -> int:
    die_with_parent()
    os.nice(NICENESS)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)  # a request to stop is for the ranks; they may still need blocks
    wishes = Wishes()
    try:
        serve(run, cut, wishes)
    except RunjobError as error:
        print(f"runjob: {error}", file=sys.stderr)
        broken_off = isinstance(error, StreamStopped) and error.broken_off
        causes = causes_json(error)
        write_json(run.stream_failure, {"error": str(error), "broken_off": broken_off, "causes": causes})
    return 1


def serve(run: RunDir, cut: Callable[[Side, Data], Rows], wishes: Wishes) -> None:
    """Put one missing block in place after another, for as long as somebody asks."""
    keeper, name = open_keeper(run, cut)
    steps = Steps(run)
    wanted = wishes.newest()
    while True:

        def provide(positions: range = wanted) -> int | None:
            return keeper.provide(positions, keep_from=steps.oldest_position())

        number = patiently(provide, what=name, say=say, waits_s=waits_s(WAITS_S))
        if number is not None:
            say(f"block {number} is there")
        wanted = wishes.after(wanted) if number is None else wishes.newest()


def say(text: str) -> None:
    print(text, flush=True)


def open_keeper(run: RunDir, cut: Callable[[Side, Data], Rows]) -> tuple[BlockKeeper, str]:
    """The keeper of this run's blocks, and what its source is called."""
    data = read_job_json(run.job).job.data
    assert isinstance(data, HubData) and data.streaming
    prepared = run.read_data()
    store = Store.open(Path(prepared["store"]))
    folder = Folder.of_run(run, store)
    streamed = open_streamed(data, commit=prepared["commit"])
    maker = BlockMaker(
        streamed,
        data,
        folder,
        start=read_start(store.path),
        backend=read_engine(store.path),
        eos_id=store.summary.tokenizer.eos_id,
        open_rows=lambda side: cut(side, data),
    )
    budget = parse_size(data.disk_budget)
    index = Index(run.stream_index(store.summary.fingerprint))
    return BlockKeeper(maker, index, folder, budget=budget, source=streamed.name), streamed.name


class Steps:
    """Where the checkpoints of a run stand in the stream."""

    def __init__(self, run: RunDir) -> None:
        self._checkpoints = run.checkpoints
        self._global_batch = read_job_json(run.job).job.training.global_batch

    def oldest_position(self) -> int:
        """Of the oldest checkpoint that is kept; without one a resume begins at 0."""
        return min(folders_in(self._checkpoints), default=0) * self._global_batch


def cut_as(length: str, eos: str) -> Callable[[Side, Data], Rows]:
    """How many rows a block has hangs on how its text is cut; what the objective makes of a row does not."""
    return lambda side, data: open_rows(side, dataclasses.replace(data, sequence_length=int(length)), eos=eos == "eos")


if __name__ == "__main__":
    code = main(RunDir(Path(sys.argv[1])), cut_as(*sys.argv[2:]))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
