"""Kill -9 at moments drawn uniformly over the whole of a preparation (digests, copies, training the tokenizer,
tokenising, checking), and every second time over the part of it that tokenises, up to three times in a row; then
compare the store with an unbroken one, file by file and byte by byte. It ends with 1 if anything differs:

    python benchmarks/kills_prepare.py --trials 20 --seed 1 [--megabytes 4]

Half of the trials are two preparations of the same store at once, of which the one that holds the lock is killed.
"""

import argparse
import hashlib
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
VOCABULARY = 500
# Small enough for many parts of a corpus that is prepared in seconds.
BATCH_CHARACTERS, PART_CHARACTERS = 4_000, 20_000
MAX_KILLS = 3


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--megabytes", type=float, default=4)
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        return prepare_one(Path(options.child[0]), Path(options.child[1]))
    chance = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as place:
        corpus = build_corpus(Path(place), options.megabytes)
        process = start(corpus, Path(place, "whole"))
        begun = time.monotonic()
        said = finish(process)
        life_s = time.monotonic() - begun
        whole, second_half_s = digests(Path(said[-1])), tokenising_s(said)
        print(f"seed {options.seed}; unbroken: {life_s:.1f} s, tokenising from {second_half_s:.1f} s on")
        print("| at once | killed after s | in | went on behind document | equal |\n|---|---|---|---|---|")
        moments = ((number % 2 * second_half_s, life_s) for number in range(options.trials))
        equal = [trial(chance, corpus, Path(place, "cache"), between, whole) for between in moments]
    return 0 if all(equal) else 1


def trial(
    chance: random.Random, corpus: Path, cache: Path, between: tuple[float, float], whole: dict[str, str]
) -> bool:
    moments, stages, places = [], [], []
    together = chance.random() < 0.5
    waiter = None
    for _ in range(chance.randint(1, MAX_KILLS)):
        moment = chance.uniform(*between)
        first = start(corpus, cache)
        if together and waiter is None:
            waiter = start(corpus, cache)
        time.sleep(moment)
        first.kill()
        said = ["reading  0", *first.communicate()[0].splitlines()]
        moments.append(f"{moment:.1f}")
        stages.append("over" if said[-1].startswith("/") else said[-1].split("  ")[0])
        places += places_in(said)
        if waiter is not None:
            break
    lines = finish(waiter or start(corpus, cache))
    places += places_in(lines)
    found = digests(Path(lines[-1]))
    same = found == whole and sorted(path.suffix for path in (cache / "stores").iterdir()) == ["", ".lock"]
    shutil.rmtree(cache)
    shown = ", ".join(moments), ", ".join(stages), ", ".join(places) or "-"
    print(f"| {2 if together else 1} | {' | '.join(shown)} | {'yes' if same else 'NO'} |", flush=True)
    return same


def places_in(lines: list[str]) -> list[str]:
    """Behind which document a process began to tokenise, if not with the first."""
    found = [line.split("  ") for line in lines if line.startswith("finding the place again  ")]
    return [words[1] for words in found if words[1] != "0"][-1:]


def tokenising_s(lines: list[str]) -> float:
    """When it began, after the beginning of the preparation."""
    return next(float(words[2]) for line in lines if (words := line.split("  "))[0] == "tokenising")


def start(corpus: Path, cache: Path) -> subprocess.Popen[str]:
    """A preparation that has begun."""
    argv = [sys.executable, __file__, "--child", str(corpus), str(cache)]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()
    return process


def finish(process: subprocess.Popen[str]) -> list[str]:
    said = process.communicate()[0].splitlines()
    if process.returncode != 0:
        raise SystemExit(f"a preparation that nobody killed ended with {process.returncode}")
    return said


def prepare_one(corpus: Path, cache: Path) -> int:
    """In a process of its own: its stages as they come, and at last where the store is."""
    from runjob.data.prepare import Progress, Sizes, prepare
    from runjob.schemas.read import read_job

    cache.mkdir(exist_ok=True)
    job = cache.parent / "job.yaml"
    data = read_job(job).job.data

    begun = time.monotonic()

    def report(progress: Progress) -> None:
        print(f"{progress.stage}  {progress.documents}  {time.monotonic() - begun:.2f}", flush=True)

    sizes = Sizes(batch=BATCH_CHARACTERS, part=PART_CHARACTERS)
    print(prepare(data, seed=1, cache=cache, report=report, sizes=sizes).path)
    return 0


def digests(store: Path) -> dict[str, str]:
    files = sorted(path for path in store.rglob("*") if path.is_file())
    return {str(file.relative_to(store)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def build_corpus(place: Path, megabytes: float) -> Path:
    corpus = place / "corpus.txt"
    script = ROOT / "scripts" / "build_corpus.py"
    size = str(int(megabytes * 1e6))
    argv = [sys.executable, str(script), str(corpus), "--bytes", size, "--copies", "0.1", "--seed", "1"]
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)
    (place / "job.yaml").write_text(JOB.format(corpus=corpus, vocabulary=VOCABULARY), encoding="utf-8")
    return corpus


JOB = """
schema: 1
name: kills
data:
  kind: text
  path: {corpus}
  min_length: 20
  deduplicate: true
  sequence_length: 64
  tokenizer: {{kind: train, algorithm: bpe, vocab_size: {vocabulary}}}
  split: {{kind: hash, validation: 0.1}}
model:
  init: {{kind: scratch, architecture: gpt2, hidden_size: 64, num_hidden_layers: 1, num_attention_heads: 1,
    max_position_embeddings: 64}}
objective: {{kind: clm}}
training: {{length: 1 steps, global_batch: 1, micro_batch: 1, learning_rate: 1e-3}}
hardware: {{device: cpu, ranks: 1}}
"""

if __name__ == "__main__":
    sys.exit(main())
