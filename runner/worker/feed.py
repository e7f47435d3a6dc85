"""The ranks' side of a streamed run: what they read, and rank 0's hold on the reader (reader.py)."""

import contextlib
import shutil
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runjob.data.block_rows import BlockOrder, BlockRows, Blocks, StreamStopped
from runjob.data.blocks import BlockRecord, Folder, Index
from runjob.data.documents import SHOWN
from runjob.data.rows import Rows, open_rows
from runjob.data.store import Store
from runjob.data.stream import StepBatch
from runjob.runner.worker.exchange import DIGEST_BYTES, GO_ON, Exchange
from runjob.runner.worker.objective import Reader
from runjob.runner.worker.shared_disk import refuse_unshared
from runjob.runner.worker.stopping import StopWatch
from runjob.schemas.causes import causes_json
from runjob.schemas.job import Job
from runjob.schemas.run import Attempt, RunDir, read_json, write_json

# Steps beyond the running one whose blocks are asked for: those that are built ahead (data/stream.py), and some.
STEPS_AHEAD = 4
END_WITHIN_S = 10.0


@dataclass(frozen=True, kw_only=True)
class Feed:
    """Rows and order of the stream for every rank; `reader` is rank 0's alone."""

    blocks: Blocks
    index: Index
    rows: Rows
    order: BlockOrder
    reader: "ReaderProcess | None"
    failure: Path
    global_batch: int
    ranks: int

    def advance(self, step: int, *, last: int) -> None:
        """This step is about to be taken: its samples are needed, and those of the next ones up to the last step."""
        if self.reader is not None:
            until = min(step + STEPS_AHEAD, last)
            self.reader.want(range((step - 1) * self.global_batch, until * self.global_batch))

    def bad_rows(self, step: int) -> list[dict[str, Any]]:
        """What is to be said with this step: of each block that begins in it how many rows could not be read, and of
        the run the first ten of them. Later turns leave the same ones out, so they are told in the first. Rank 0's."""
        if self.reader is None:
            return []
        self.index.refresh()
        begun = self.index.begun_in(range((step - 1) * self.global_batch, step * self.global_batch))
        return [self._told(record) for record in begun if record.left_out.bad and record.begin.cycle == 0]

    def _told(self, record: BlockRecord) -> dict[str, Any]:
        before = sum(earlier.left_out.bad for earlier in self.index.records[: record.number])
        first = list(record.bad_rows[: max(SHOWN - before, 0)])
        return {"block": record.number, "count": record.left_out.bad, "first": first}

    def nothing(self, error: StreamStopped) -> StepBatch:
        """What a rank takes part with whose samples can't be had: of the right size for the exchange, and empty. The
        others, who may have theirs, learn why from the run directory."""
        if not self.failure.exists():
            causes = causes_json(error)
            write_json(self.failure, {"error": str(error), "broken_off": error.broken_off, "causes": causes})
        share = self.global_batch // self.ranks
        return StepBatch(
            micro_batches=(),
            predicted=0,
            tokens=0,
            digests=(bytes(DIGEST_BYTES),) * share,
            places=tuple(range(self.global_batch)),
            wait_s=0.0,
        )

    def why(self) -> StreamStopped:
        """What the reader, or the rank that waited in vain, has written down."""
        said = read_json(self.failure)
        return StreamStopped(str(said["error"]), broken_off=bool(said["broken_off"]))

    def close(self, *, finished: bool) -> None:
        """End the reader; the blocks of a run that has come to its end go."""
        self.blocks.close()
        if self.reader is not None:
            self.reader.close(drop_blocks=finished)


def open_feed(
    run: RunDir,
    attempt: Attempt,
    job: Job,
    store: Store,
    text: Reader,
    *,
    exchange: Exchange,
    stop_watch: StopWatch,
) -> Feed:
    """Collective."""
    folder = Folder.of_run(run, store)
    reader = ReaderProcess(run, attempt, folder, text) if exchange.rank == 0 else None
    path = run.stream_index(store.summary.fingerprint)
    refuse_unshared(folder.path, exchange)
    blocks = Blocks(
        Index(path),
        folder,
        failure=run.stream_failure,
        open_rows=lambda side: open_rows(side, text.data, eos=text.eos),
        asked_to_stop=lambda: stop_watch.requested() != GO_ON,
    )
    rows = BlockRows(blocks, sequence_length=text.data.sequence_length, bucketed=job.data.layout == "lines")
    return Feed(
        blocks=blocks,
        index=Index(path),  # its own: that of `blocks` belongs to the thread that builds steps ahead
        rows=text.finish(rows),
        order=BlockOrder(blocks, job.seed),
        reader=reader,
        failure=run.stream_failure,
        global_batch=job.training.global_batch,
        ranks=exchange.ranks,
    )


class ReaderProcess:
    """Started with rank 0, ended with it; if it ends by itself, that is written down for all ranks."""

    def __init__(self, run: RunDir, attempt: Attempt, folder: Folder, text: Reader) -> None:
        run.stream.mkdir(exist_ok=True)
        run.stream_failure.unlink(missing_ok=True)  # of an earlier attempt
        folder.path.mkdir(parents=True, exist_ok=True)
        folder.set_aside()
        self._failure = run.stream_failure
        self._folder = folder
        self._log = attempt.stage_log("reader")
        cut = (str(text.data.sequence_length), "eos" if text.eos else "-")
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                (sys.executable, "-m", "runjob.runner.worker.reader", str(run.path), *cut),
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self._closing = False
        threading.Thread(target=self._watch, daemon=True).start()

    def want(self, positions: range) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it has ended; the ranks read why where they wait
            self._process.stdin.write(f"{positions.start} {positions.stop}\n".encode())
            self._process.stdin.flush()

    def close(self, *, drop_blocks: bool) -> None:
        self._closing = True
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(END_WITHIN_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if drop_blocks:
            shutil.rmtree(self._folder.path)

    def _watch(self) -> None:
        code = self._process.wait()
        if not self._closing and not self._failure.exists():
            how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
            said = f"the reader of the stream {how}; its log is {self._log.name} of this attempt; resume the job"
            write_json(self._failure, {"error": said, "broken_off": False, "causes": [], "code": code})
