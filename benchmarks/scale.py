"""What 10 billion tokens on 1,000 GPUs would ask of our own code, as far as one small machine can tell: the very
functions that a rank runs, with the numbers of such a run.

    python benchmarks/scale.py [--ranks 1000] [--batch 4000] [--groups 2,4,8,16,32]

A store of 10^10 tokens is a file of holes, a rank is asked for its share of a step, and the exchange between the ranks
is made among as many processes as fit here. Times are of the processor, since many processes share few cores.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from runjob.data.cut import Limit, cut_by_length
from runjob.data.order import Order
from runjob.data.rows import PackedRows
from runjob.data.store import SectionSummary, Side, SideSummary
from runjob.data.stream import TrainStream

TOKENS = 10**10
ROW = 1024
TRIALS = 20
EXCHANGES = 30
# Counts what a rank opens until it may begin: of a shared disk each is a question to the server of its names
OPENED = """\
import sys
opened = []
sys.addaudithook(lambda event, args: opened.append(str(args[0])) if event == "open" else None)
import runjob.runner.worker.session
print(len(opened), len(sys.modules))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ranks", type=int, default=1000)
    parser.add_argument("--batch", type=int, default=4000)
    parser.add_argument("--groups", default="2,4,8,16,32")
    args = parser.parse_args()
    print("| one step, on every rank | ms of the processor |\n|---|---|")
    tell_order(args.batch)
    tell_share(args.batch, args.ranks)
    tell_cut(args.batch, args.ranks)
    tell_start()
    tell_exchange(args.batch, args.ranks, [int(one) for one in args.groups.split(",")])


def milliseconds(work: Callable[[], object]) -> float:
    """The median of TRIALS, of the processor."""
    times = []
    for _ in range(TRIALS):
        began = time.process_time()
        work()
        times.append(1000 * (time.process_time() - began))
    return statistics.median(times)


def tell_order(batch: int) -> None:
    for rows in (TOKENS // ROW, TOKENS):
        order = Order(rows, seed=1)
        last = 100 * rows - batch
        taken = milliseconds(lambda order=order, last=last: order.rows_at(last, batch))  # type: ignore[misc]
        print(f"| the order of {batch:,} of {rows:,} rows, in the 100th epoch | {taken:.2f} |")


def tell_share(batch: int, ranks: int) -> None:
    with tempfile.TemporaryDirectory() as place:
        rows = PackedRows(hollow_side(Path(place)), ROW)
        for count in (1, 8, ranks):
            limit = Limit(rows=4, tokens=None)
            order = Order(len(rows), seed=1)
            stream = TrainStream(rows, order, global_batch=batch, limit=limit, rank=0, ranks=count, ahead=0)
            step = iter(range(1000, 10**9))
            # built by the stream's own thread, whose time counts too
            taken = milliseconds(lambda stream=stream, step=step: stream.step(next(step)))  # type: ignore[misc]
            print(f"| the share of one of {count:,} ranks: {batch // count:,} rows of {ROW:,} | {taken:.2f} |")
            stream.close()


def hollow_side(place: Path) -> Side:
    """A side of one document of zeros, which takes no room."""
    with (place / "tokens.bin").open("wb") as file:
        file.truncate(2 * TOKENS)
    np.save(place / "offsets.npy", np.array([1, TOKENS], dtype="<i8"))
    section = SectionSummary(documents=1, predicted=TOKENS - 1, bytes=TOKENS, words=1)
    return Side(place, summary=SideSummary.of(section), token_type="uint16")


def tell_cut(batch: int, ranks: int) -> None:
    lengths = np.clip(np.random.default_rng(1).lognormal(5.0, 0.8, batch).astype(np.int64), 1, ROW)
    limit = Limit(rows=None, tokens=4 * ROW)
    for count in (8, ranks):
        taken = milliseconds(lambda count=count: cut_by_length(lengths, ranks=count, limit=limit))  # type: ignore[misc]
        print(f"| the cut by length, for {count:,} ranks (layout lines) | {taken:.2f} |")


def tell_start() -> None:
    done = subprocess.run([sys.executable, "-c", OPENED], capture_output=True, text=True, check=True)
    opened, modules = done.stdout.splitlines()[-1].split()
    print(f"\nA rank opens {int(opened):,} files for its {int(modules):,} modules before it begins.")


def tell_exchange(batch: int, ranks: int, groups: list[int]) -> None:
    print("\n| ranks | sockets a rank | bytes received a step | ms by the clock | ms of the processor, a rank |")
    print("|---|---|---|---|---|")
    for count in groups:
        sockets, received, clock, processor = exchange_among(count, batch)
        print(f"| {count} | {sockets} | {received:,} | {clock:.2f} | {processor:.2f} |")
    print(f"| {ranks:,}, by arithmetic | {ranks - 1:,} | {bytes_received(ranks, batch):,} | | |")


def bytes_received(ranks: int, batch: int) -> int:
    """Of both messages (runner/worker/exchange.py): five numbers and the digests before a step, the loss after it."""
    return ranks * (5 * 8 + 8) + 32 * batch


def exchange_among(ranks: int, batch: int) -> tuple[int, int, float, float]:
    """So many processes, made by fork after torch was imported, exchange what the ranks of a step do."""
    with tempfile.TemporaryDirectory() as place:
        results = Path(place) / "result.json"
        children = []
        for rank in range(ranks):
            pid = os.fork()
            if pid == 0:
                be_rank(rank, ranks, batch // ranks, Path(place), results)
                os._exit(0)
            children.append(pid)
        codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]
        assert not any(codes), codes
        sockets, clock, processor = json.loads(results.read_text())
    return int(sockets), bytes_received(ranks, batch // ranks * ranks), float(clock), float(processor)


def be_rank(rank: int, ranks: int, share: int, place: Path, results: Path) -> None:
    import torch
    from torch import distributed

    from runjob.runner.worker.exchange import DIGEST_BYTES, Exchange

    torch.set_num_threads(1)
    before = len(list(Path("/proc/self/fd").iterdir()))
    distributed.init_process_group("gloo", init_method=f"file://{place}/meeting", rank=rank, world_size=ranks)
    between = len(list(Path("/proc/self/fd").iterdir()))
    exchange = Exchange()
    digests = (bytes(DIGEST_BYTES),) * share
    assert before < between
    sockets = len(list(Path("/proc/self/fd").iterdir())) - between
    times: list[float] = []
    used = resource.getrusage(resource.RUSAGE_SELF)
    for _ in range(EXCHANGES):
        began = time.perf_counter()
        exchange.before(predicted=1, tokens=1, digests=digests, stop=0, evaluate=False, save=False)
        exchange.after(1.0)
        times.append(1000 * (time.perf_counter() - began))
    now = resource.getrusage(resource.RUSAGE_SELF)
    processor = 1000 * (now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime) / EXCHANGES
    distributed.barrier()
    if rank == 0:
        results.write_text(json.dumps([sockets, statistics.median(times), processor]))


if __name__ == "__main__":
    main()
