"""Does a name find its gloss, and does a backbone help it? jobs/tiny/student_embed.yaml from the weights of
jobs/tiny/modernbert_student.yaml and from none, at several learning rates and seeds, beside BM25 over words and over
three letters at a time (Robertson and Zaragoza 2009, section 3.4: k1 1.2, b 0.75). What is chosen, step and learning
rate, is chosen by nDCG on the validation side; the test side is looked at once, by the best learning rate of a start.

    python -m benchmarks.embeddings --to FILE.json [--seeds 1 2 3] [--rates 5e-4 2e-3] [--starts backbone scratch]

Begin with `runjob jobs/tiny/modernbert_student.yaml` in the same RUNJOB_HOME. What is in --to already is not trained
again.
"""

import argparse
import gzip
import itertools
import json
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from sklearn.feature_extraction.text import CountVectorizer

from benchmarks.trained import evaluations, train
from runjob.data.samples import locate
from runjob.data.split import hash_side
from runjob.runner.worker.retrieval import metrics_of, places
from runjob.schemas.job_data import HashSplit
from runjob.schemas.read import read_job

JOB = Path(__file__).parent.parent / "jobs" / "tiny" / "student_embed.yaml"
SIZES = "hidden_size: 64, num_hidden_layers: 6, num_attention_heads: 2, intermediate_size: 128, local_attention: 32"
SCRATCH = f"{{kind: scratch, architecture: modernbert, {SIZES}, max_position_embeddings: 512}}"
STARTS = {"backbone": (), "scratch": (f"model.init={SCRATCH}",)}
QUIET = ("tracking.tensorboard=false", "hardware.threads=1")
K1, B = 1.2, 0.75
NAMES = ("recall_at_1", "recall_at_10", "mrr", "ndcg_at_10")

# The metrics of one side
Scores = dict[str, float]
# "start rate" -> seed -> side -> its metrics
Found = dict[str, dict[str, dict[str, Scores]]]
Pairs = list[tuple[str, str]]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--to", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--rates", nargs="+", default=["5e-4", "2e-3"])
    parser.add_argument("--starts", nargs="+", choices=STARTS, default=list(STARTS))
    options = parser.parse_args()
    found: Found = json.loads(options.to.read_text()) if options.to.exists() else {}
    with tempfile.TemporaryDirectory() as folder:
        named = write_sides(Path(folder))
        for seed, start, rate in itertools.product(options.seeds, options.starts, options.rates):
            seeds = found.setdefault(f"{start} {rate}", {})
            if str(seed) not in seeds:
                seeds[str(seed)] = measure(start, rate, named, seed=seed)
                options.to.write_text(json.dumps(found, indent=1))
                print(f"{start}, {rate}, seed {seed}: {seeds[str(seed)]}", flush=True)
    every = sides()
    print(table(found, {side: baselines(every[side]) for side in ("validation", "test")}))
    return 0


def measure(start: str, rate: str, named: Sequence[str], *, seed: int) -> dict[str, Scores]:
    """Of the step that is best on the validation side."""
    run = train(JOB, (*STARTS[start], *QUIET, *named, f"seed={seed}", f"training.learning_rate={rate}"))
    best = max(evaluations(run), key=lambda one: float(one["ndcg_at_10"]))
    [finish] = run.read_events("finish")
    return {
        "validation": {name: best[name] for name in NAMES},
        "test": {name: finish[f"test_{name}"] for name in NAMES},
    }


def write_sides(folder: Path) -> list[str]:
    """The same sides for every seed, which would decide them too."""
    for side, pairs in sides().items():
        lines = (json.dumps({"text": name, "gloss": gloss}) + "\n" for name, gloss in pairs)
        (folder / f"{side}.jsonl").write_text("".join(lines), encoding="utf-8")
    return [
        f"data.path={folder / 'train.jsonl'}",
        f"data.split={{kind: files, validation: {folder / 'validation.jsonl'}, test: {folder / 'test.jsonl'}}}",
    ]


def sides() -> dict[str, Pairs]:
    """The pairs as the job itself puts them on sides."""
    job = read_job(JOB).job
    split = job.data.split
    assert isinstance(split, HashSplit)
    found: dict[str, Pairs] = {"train": [], "validation": [], "test": []}
    with gzip.open(locate("glosses"), "rt", encoding="utf-8") as file:
        for row in map(json.loads, file):
            side = hash_side(row["gloss"], validation=split.validation, test=split.test, seed=job.seed)
            found[side].append((row["text"], row["gloss"]))
    return found


def baselines(pairs: Pairs) -> dict[str, Scores]:
    return {
        "BM25 over words": bm25(pairs, CountVectorizer()),
        "BM25 over three letters": bm25(pairs, CountVectorizer(analyzer="char_wb", ngram_range=(3, 3))),
    }


def bm25(pairs: Pairs, terms: CountVectorizer) -> Scores:
    """Each name asked of all glosses of its side, counted as runner/worker/retrieval.py counts: ties are against it."""
    names, glosses = zip(*pairs, strict=True)
    counts = terms.fit_transform(glosses).toarray().astype(np.float64)
    length = counts.sum(axis=1, keepdims=True)
    holding = (counts > 0).sum(axis=0)
    rarity = np.log1p((len(glosses) - holding + 0.5) / (holding + 0.5))
    weights = rarity * counts * (K1 + 1) / (counts + K1 * (1 - B + B * length / length.mean()))
    asked = (terms.transform(names).toarray() > 0).astype(np.float64)
    same = [[one == other for other in group] for group in (names, glosses) for one in group]
    alike = torch.tensor(same).view(2, len(names), len(names)).any(dim=0)
    own = torch.arange(len(names))
    at = places(torch.from_numpy(asked), torch.from_numpy(weights), own=own, alike=alike)
    return metrics_of(torch.bincount(at, minlength=len(names) + 1))


def table(found: Found, others: dict[str, dict[str, Scores]]) -> str:
    """nDCG at 10 of each start and learning rate, with its spread, and all metrics of the test side of the best."""
    lines = ["| start, learning rate | seeds | validation nDCG@10 | |", "|---|---|---|---|"]
    for name, seeds in found.items():
        ndcg = [one["validation"]["ndcg_at_10"] for one in seeds.values()]
        lines.append(f"| {name} | {len(ndcg)} | {statistics.mean(ndcg):.3f} | {min(ndcg):.3f} to {max(ndcg):.3f} |")
    lines += [f"| {name} | | {one['ndcg_at_10']:.3f} | |" for name, one in others["validation"].items()]
    lines += ["", f"| test side | {' | '.join(NAMES)} |", f"|---|{'---|' * len(NAMES)}"]
    for start in STARTS:
        tried = [name for name in found if name.startswith(f"{start} ")]
        if tried:
            best = max(tried, key=lambda name: mean_of(found[name], "validation", "ndcg_at_10"))
            lines.append(row(best, [mean_of(found[best], "test", name) for name in NAMES]))
    lines += [row(name, [one[metric] for metric in NAMES]) for name, one in others["test"].items()]
    return "\n".join(lines)


def mean_of(seeds: dict[str, dict[str, Scores]], side: str, name: str) -> float:
    return statistics.mean(one[side][name] for one in seeds.values())


def row(name: str, numbers: Sequence[float]) -> str:
    return f"| {name} | {' | '.join(f'{number:.3f}' for number in numbers)} |"


if __name__ == "__main__":
    sys.exit(main())
