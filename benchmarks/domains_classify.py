"""Which list does a host name come from: jobs/tiny/domains_classify.yaml from the weights of
jobs/tiny/canine_domains.yaml and from none, three seeds each, against a logistic regression on runs of characters. All
learn from the same names; what is chosen (the regression's settings, the network's step) is chosen by macro F1 on the
validation side, and the test side is looked at once.

    python -m benchmarks.domains_classify [--seeds 1 2 3] [--starts backbone scratch] [--to FILE.json]

Begin with `runjob jobs/tiny/canine_domains.yaml` in the same RUNJOB_HOME. The regression is deterministic and has no
seeds. With --to, what is there already is not trained again.
"""

import argparse
import gzip
import itertools
import json
import sys
import tempfile
from pathlib import Path
from statistics import mean
from typing import Any

from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, f1_score

from benchmarks.trained import train
from runjob.data.samples import locate
from runjob.data.split import hash_side
from runjob.schemas.job_data import HashSplit
from runjob.schemas.read import read_job

JOB = Path(__file__).parent.parent / "jobs" / "tiny" / "domains_classify.yaml"
# The sizes of jobs/tiny/canine_domains.yaml
SIZES = "hidden_size: 64, num_hidden_layers: 2, num_attention_heads: 4, max_position_embeddings: 100, dropout: 0.0"
SCRATCH = f"{{kind: scratch, architecture: canine, {SIZES}, num_hash_buckets: 512, character_table: 512}}"
STARTS = {"backbone": (), "scratch": (f"model.init={SCRATCH}", "model.allow_new=[]")}
LONGEST_RUNS, STRENGTHS, WEIGHTS = (2, 3, 4, 5), (0.3, 1.0, 3.0, 10.0, 30.0), (None, "balanced")

# side -> (texts, labels)
Sides = dict[str, tuple[list[str], list[str]]]
# What comes out of one training: macro F1 and accuracy of the test side
Scores = dict[str, float]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--starts", nargs="+", choices=STARTS, default=list(STARTS))
    parser.add_argument("--to", type=Path)
    args = parser.parse_args()
    found: dict[str, dict[str, Scores]] = json.loads(args.to.read_text()) if args.to and args.to.exists() else {}
    with tempfile.TemporaryDirectory() as folder:
        sides = read_sides()
        found["regression"] = {"-": regression(sides)}
        named = write_sides(sides, Path(folder))
        for seed, start in itertools.product(args.seeds, args.starts):
            if str(seed) in found.setdefault(start, {}):
                continue
            found[start][str(seed)] = measure(start, named, seed=seed)
            if args.to is not None:
                args.to.write_text(json.dumps(found))
    print(table(found))
    return 0


def read_sides() -> Sides:
    """The names as the job itself puts them on sides."""
    job = read_job(JOB).job
    split = job.data.split
    assert isinstance(split, HashSplit)
    sides: Sides = {side: ([], []) for side in ("train", "validation", "test")}
    with gzip.open(locate("domains_labelled"), "rt", encoding="utf-8") as file:
        for row in map(json.loads, file):
            side = hash_side(row["text"], validation=split.validation, test=split.test, seed=job.seed)
            sides[side][0].append(row["text"])
            sides[side][1].append(row["label"])
    return sides


def write_sides(sides: Sides, folder: Path) -> tuple[str, ...]:
    """A file a side, so that a run's seed moves no name; the values that name them."""
    paths = {side: folder / f"{side}.jsonl" for side in sides}
    for side, (texts, labels) in sides.items():
        rows = [json.dumps({"text": text, "label": label}) for text, label in zip(texts, labels, strict=True)]
        paths[side].write_text("\n".join(rows) + "\n", encoding="utf-8")
    split = f"{{kind: files, validation: {paths['validation']}, test: {paths['test']}}}"
    return f"data.path={paths['train']}", f"data.split={split}"


def regression(sides: Sides) -> Scores:
    """The best of all settings on the validation side, asked once about the test side."""
    best: tuple[float, Any, Any] = (-1.0, None, None)
    for longest in LONGEST_RUNS:
        vectorizer = TfidfVectorizer(analyzer="char_wb", ngram_range=(1, longest), sublinear_tf=True)
        features = vectorizer.fit_transform(sides["train"][0])
        for strength, weights in itertools.product(STRENGTHS, WEIGHTS):
            model = LogisticRegression(C=strength, class_weight=weights, max_iter=2000).fit(features, sides["train"][1])
            said = model.predict(vectorizer.transform(sides["validation"][0]))
            score = f1_score(sides["validation"][1], said, average="macro")
            if score > best[0]:
                best = (score, vectorizer, model)
                print(f"regression: runs of 1 to {longest}, C {strength:g}, {weights}: {score:.4f}", file=sys.stderr)
    _, vectorizer, model = best
    said = model.predict(vectorizer.transform(sides["test"][0]))
    return scores(f1_score(sides["test"][1], said, average="macro"), accuracy_score(sides["test"][1], said))


def measure(start: str, named: tuple[str, ...], *, seed: int) -> Scores:
    run = train(JOB, (*named, *STARTS[start], f"seed={seed}", "hardware.threads=1", "tracking.tensorboard=false"))
    [finish] = run.read_events("finish")
    print(f"{start}, seed {seed}: {finish['test_f1_macro']:.4f}", file=sys.stderr)
    return scores(finish["test_f1_macro"], finish["test_accuracy"])


def scores(f1_macro: float, accuracy: float) -> Scores:
    return {"f1_macro": float(f1_macro), "accuracy": float(accuracy)}


def table(found: dict[str, dict[str, Scores]]) -> str:
    lines = ["| | macro F1, mean (lowest to highest) | accuracy, mean |", "|---|---|---|"]
    for start, runs in found.items():
        f1 = [one["f1_macro"] for one in runs.values()]
        spread = f" ({min(f1):.3f} to {max(f1):.3f})" if len(f1) > 1 else ""
        accuracy = mean(one["accuracy"] for one in runs.values())
        lines.append(f"| {start} | {mean(f1):.3f}{spread} | {accuracy:.3f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
