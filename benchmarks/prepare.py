"""How fast `prepare` is beside the tokenizer library alone and beside the usual way (datasets.map, then group, as seed
system 004 writes it and in one process), and how time and memory grow with the corpus.

    python benchmarks/prepare.py --megabytes 100,1000        (an hour on two cores; the tables stand in docs/scale.md)
    python benchmarks/prepare.py --megabytes 20 --rounds 3   (five minutes)

Every measurement is a process of its own, and the ways take turns, so that a machine that others use too slows all of
them. Of each way the best round counts. Raw means `encode_batch_fast` on the very lines, which are in memory already,
with `.ids` of each read and thrown away; it may choose its threads and how many lines it is given at once. `prepare`
is timed from the call to the finished store: digests, splitting, writing, fsync and the sha256 of what was written.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
AS_THE_SEED = "datasets.map, then group, 8 processes"
IN_ONE_PROCESS = "datasets.map, then group, one process"
VOCABULARY = 16_384
CONTEXT = 1024
RAW_LINES_AT_ONCE = (1_000, 10_000, 10**9)
# Of the gpt2-dutch scripts: its default for both maps, and the share that its random split keeps for the test
SEED_PROCESSES = 8
SEED_TEST_SHARE = 0.002


def main() -> None:
    arguments = read_arguments()
    if arguments.way:
        print(json.dumps(measure(arguments.way, arguments.files)))
        return
    with tempfile.TemporaryDirectory(dir=arguments.place) as place:
        folder = Path(place)
        tokenizer = train_tokenizer(folder)
        if arguments.rounds:
            best = compare(build_corpus(folder, arguments.compared), tokenizer, folder, rounds=arguments.rounds)
            if arguments.record is not None:
                arguments.record.write_text(json.dumps(best), encoding="utf-8")
        print("\n| MB of text | seconds | processor seconds | of them a MB | peak memory, MiB | store, MB |")
        print("|---" * 6 + "|")
        for megabytes in map(int, filter(None, arguments.megabytes.split(","))):
            corpus = build_corpus(folder, megabytes)
            found = run("prepare", corpus, tokenizer, folder)
            size = found["bytes"] / 1e6
            print(
                f"| {size:,.0f} | {found['seconds']:,.1f} | {found['processor_s']:,.1f} "
                f"| {found['processor_s'] / size:.3f} | {found['peak_mib']:,.0f} | {found['tokens'] * 2 / 1e6:,.0f} |",
                flush=True,
            )
            corpus.unlink()


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", default="100,1000", help="sizes of the corpora for time and memory; '': none")
    parser.add_argument("--rounds", type=int, default=3, help="of the comparison; the best of each counts; 0: none")
    parser.add_argument("--compared", type=int, default=20, help="megabytes that a round of the comparison takes")
    parser.add_argument("--place", help="where corpora and stores go and are removed; default: the temporary folder")
    parser.add_argument("--record", type=Path, help="a file for the comparison as JSON")
    parser.add_argument("--way", help=argparse.SUPPRESS)  # one measurement, in a process of its own
    parser.add_argument("files", nargs="*", help=argparse.SUPPRESS)
    return parser.parse_args()


def compare(corpus: Path, tokenizer: Path, place: Path, *, rounds: int) -> dict[str, dict[str, float]]:
    """The table, printed; each way at its best."""
    raw = [(lines, threads) for lines, threads in product(RAW_LINES_AT_ONCE, sorted({1, os.cpu_count() or 1}))]
    best: dict[str, dict[str, float]] = {}

    def take(name: str, found: dict[str, float]) -> None:
        if name not in best or found["seconds"] < best[name]["seconds"]:
            best[name] = found

    for _ in range(rounds):
        for lines, threads in raw:
            name = f"raw, {threads} thread(s), {lines if lines < 10**9 else 'all'} lines at once"
            take(name, run("raw", corpus, tokenizer, place, str(lines), threads=threads))
            take("prepare", run("prepare", corpus, tokenizer, place))
        take(AS_THE_SEED, run("seed", corpus, tokenizer, place))
        take(IN_ONE_PROCESS, run("usual", corpus, tokenizer, place))
    reference = min(found["seconds"] for name, found in best.items() if name.startswith("raw"))
    print(f"{best['prepare']['bytes'] / 1e6:.0f} MB of text, best of {rounds} rounds (prepare: of {rounds * len(raw)})")
    print("| way | seconds | MB/s | processor seconds | rate, raw at its best = 1 |\n|---|---|---|---|---|")
    for name, found in best.items():
        print(
            f"| {name} | {found['seconds']:.2f} | {found['bytes'] / found['seconds'] / 1e6:.2f} "
            f"| {found['processor_s']:.2f} | {reference / found['seconds']:.2f} |"
        )
    for name in (AS_THE_SEED, IN_ONE_PROCESS):
        print(f"{name}: {best[name]['seconds'] / best['prepare']['seconds']:.1f} times as long as prepare")
    return best


def run(
    way: str, corpus: Path, tokenizer: Path, place: Path, *more: str, threads: int | None = None
) -> dict[str, float]:
    environment = os.environ | {"HF_DATASETS_CACHE": str(place / "datasets")}
    if way != "seed":  # which leaves it to the library
        environment["TOKENIZERS_PARALLELISM"] = "true"
    if threads is not None:
        environment["RAYON_NUM_THREADS"] = str(threads)
    with tempfile.TemporaryDirectory(dir=place) as cache:
        argv = [sys.executable, __file__, "--way", way, str(corpus), str(tokenizer), cache, *more]
        done = subprocess.run(argv, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def measure(way: str, files: list[str]) -> dict[str, float]:
    """One way, timed from when everything that it needs is imported."""
    corpus, tokenizer, cache = map(Path, files[:3])
    work: Callable[[], int] = {
        "raw": lambda: raw(corpus, tokenizer, int(files[3])),
        "prepare": lambda: prepared(corpus, tokenizer, cache),
        "seed": lambda: usual(corpus, tokenizer, cache, processes=SEED_PROCESSES),
        "usual": lambda: usual(corpus, tokenizer, cache, processes=None),
    }[way]()
    began, spent = time.perf_counter(), processor_s()
    tokens = work()
    return {
        "seconds": time.perf_counter() - began,
        "processor_s": processor_s() - spent,
        "tokens": tokens,
        "bytes": corpus.stat().st_size,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def raw(corpus: Path, tokenizer: Path, at_once: int) -> Callable[[], int]:
    from tokenizers import Tokenizer

    backend = Tokenizer.from_file(str(tokenizer / "tokenizer.json"))
    lines = corpus.read_text(encoding="utf-8").splitlines()

    def work() -> int:
        tokens = 0
        for start in range(0, len(lines), at_once):
            encodings = backend.encode_batch_fast(lines[start : start + at_once], add_special_tokens=False)
            tokens += sum(len(encoding.ids) for encoding in encodings)
        return tokens

    return work


def prepared(corpus: Path, tokenizer: Path, cache: Path) -> Callable[[], int]:
    from transformers import AutoTokenizer  # noqa: F401 - it imports torch: two seconds that are no part of the rate

    from runjob.data.prepare import prepare
    from runjob.schemas.read import read_job

    job = cache / "job.yaml"
    job.write_text(JOB.format(corpus=corpus, tokenizer=tokenizer), encoding="utf-8")
    data = read_job(job).job.data

    def work() -> int:
        summary = prepare(data, seed=1, cache=cache, report=lambda progress: None).summary
        return summary.train.tokens + summary.validation.tokens

    return work


def usual(corpus: Path, tokenizer: Path, cache: Path, *, processes: int | None) -> Callable[[], int]:
    """Tokenise with datasets.map, put neighbours together, cut, save. With `processes` as the seed system does: both
    maps in so many of them, on the two sides of a random split. Without, as most short scripts do: the library's
    threads tokenise on all cores, and nothing is split."""
    import datasets
    from transformers import AutoTokenizer

    datasets.disable_progress_bars()
    loaded = AutoTokenizer.from_pretrained(str(tokenizer))

    def group(rows: dict[str, list[list[int]]]) -> dict[str, list[list[int]]]:
        joined = {name: [one for row in column for one in row] for name, column in rows.items()}
        length = len(joined["input_ids"])
        whole = length // CONTEXT * CONTEXT or length  # of less than one row the seed makes a short one
        cut = {name: [flat[at : at + CONTEXT] for at in range(0, whole, CONTEXT)] for name, flat in joined.items()}
        return {**cut, "labels": [row.copy() for row in cut["input_ids"]]}

    def work() -> int:
        lines: Any = datasets.load_dataset("text", data_files=str(corpus), split="train", cache_dir=str(cache))
        sides = {"train": lines} if processes is None else lines.train_test_split(test_size=SEED_TEST_SHARE)
        rows = datasets.DatasetDict(sides)
        tokens = rows.map(lambda some: loaded(some["text"]), batched=True, remove_columns=["text"], num_proc=processes)
        grouped = tokens.map(group, batched=True, num_proc=processes)
        grouped.save_to_disk(str(cache / "grouped"))
        return sum(len(side) for side in grouped.values()) * CONTEXT

    return work


def processor_s() -> float:
    """Of this process and of those that it started and that have ended."""
    used: Iterator[resource.struct_rusage] = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in used)


def build_corpus(folder: Path, megabytes: int) -> Path:
    file = folder / f"{megabytes}.txt"
    script = ROOT / "scripts" / "build_corpus.py"
    argv = [sys.executable, str(script), str(file), "--bytes", f"{megabytes}M", "--seed", "1"]
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)
    return file


def train_tokenizer(folder: Path) -> Path:
    from runjob.data import tokenizers

    file = build_corpus(folder, 5)
    lines = file.read_text(encoding="utf-8").splitlines()
    tokenizers.save(tokenizers.train_bpe(lines, vocab_size=VOCABULARY), folder / "tokenizer")
    file.unlink()
    return folder / "tokenizer"


JOB = """
schema: 1
name: prepare
data:
  kind: text
  path: {corpus}
  sequence_length: 1024
  tokenizer: {{kind: pretrained, path: {tokenizer}}}
model:
  init: {{kind: scratch, architecture: gpt2, hidden_size: 64, num_hidden_layers: 1, num_attention_heads: 1,
    max_position_embeddings: 1024}}
objective: {{kind: clm}}
training: {{length: 1 steps, global_batch: 1, micro_batch: 1, learning_rate: 1e-3}}
hardware: {{device: cpu, ranks: 1}}
"""

if __name__ == "__main__":
    main()
