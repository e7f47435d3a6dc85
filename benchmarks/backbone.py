"""Does a backbone help, and does adapting it to the domain? The heads of jobs/tiny/paleo_ner.yaml and paleo_re.yaml are
trained on four backbones of one size, each with as many seeds:

    fresh               new weights (and the vocabulary of the last)
    glosses             jobs/tiny/paleo_dapt.yaml: new weights, masked words of 16,000 glosses
    general             the same job on sample:english: masked words of Moby Dick and State of the Union addresses
    general, glosses    DAPT proper: the general one goes on with the glosses, its vocabulary extended by their terms

    python -m benchmarks.backbone --to FILE.json [--seeds 1 2 3] [--tasks ner re] [--backbones ...] [--steps N]

Heads learn from nine tenths of the silver sentences. They are measured by F1 after their last step, so that nothing is
chosen by what is reported: on the silver tenth and on all gold ones. No backbone has read a sentence of either: lines
with a gold sentence and glosses of the silver tenth are left out. What is in --to already is not trained again.
"""

import argparse
import gzip
import json
import statistics
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.trained import train
from runjob.data.samples import locate
from runjob.data.split import hash_side

JOBS = Path(__file__).parent.parent / "jobs" / "tiny"
DAPT = JOBS / "paleo_dapt.yaml"
TASKS = {"ner": JOBS / "paleo_ner.yaml", "re": JOBS / "paleo_re.yaml"}
BACKBONES = ("fresh", "glosses", "general", "general, glosses")
HELD_OUT = 0.1
SEED = 42  # of the backbones, and of what is held out
SIZES = "hidden_size: 128, num_hidden_layers: 2, num_attention_heads: 2, max_position_embeddings: 64"
SCRATCH = f"{{kind: scratch, architecture: deberta_v2, {SIZES}, position_buckets: 32, dropout: 0.0}}"
TERMS = "terms: {taxa: sample:paleo_taxa, chrono_units: sample:paleo_times, rocks: sample:paleo_rocks}"
PLAIN = "data.normalize={unicode: NFC, whitespace: collapse}"
QUIET = ("tracking.tensorboard=false", "hardware.threads=1", "training.checkpoint.every=never", "evaluation.best=null")

# task -> backbone -> seed -> {"silver": F1, "gold": F1}
Found = dict[str, dict[str, dict[str, dict[str, float]]]]


def main() -> int:
    options = read_options()
    options.work.mkdir(parents=True, exist_ok=True)
    write_texts(options.work)
    found: Found = json.loads(options.to.read_text()) if options.to.exists() else {}
    for seed in options.seeds:  # a seed of every backbone before the next one
        for task in options.tasks:
            for name in options.backbones:
                seeds = found.setdefault(task, {}).setdefault(name, {})
                if str(seed) in seeds:
                    continue
                seeds[str(seed)] = measure(task, name, options, seed=seed)
                options.to.write_text(json.dumps(found, indent=1))
                print(f"{task}, {name}, seed {seed}: {seeds[str(seed)]}", flush=True)
    print(table(found))
    return 0


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--to", type=Path, required=True, help="the figures; what is there is not measured again")
    parser.add_argument("--work", type=Path, default=Path("backbone-work"), help="texts and the ids of backbones")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--backbones", nargs="+", choices=BACKBONES, default=list(BACKBONES))
    parser.add_argument("--steps", type=int, help="of each run; default: the jobs' own")
    return parser.parse_args()


def write_texts(work: Path) -> None:
    silver, gold = list(rows_of("paleo_ner")), list(rows_of("paleo_gold"))
    held = [row for row in silver if is_held_out(row)]
    ids, sentences = {row["source"] for row in held}, [row["text"] for row in gold]
    write(work / "silver.jsonl", (row for row in silver if not is_held_out(row)))
    write(work / "held_out.jsonl", held)
    write(work / "gold.jsonl", gold)
    write(work / "glosses.jsonl", (row for row in rows_of("paleo") if row["id"] not in ids))
    with gzip.open(locate("english"), "rt", encoding="utf-8") as english:
        lines = (line.strip() for line in english)
        unread = (line for line in lines if line and not any(sentence in line for sentence in sentences))
        write(work / "general.jsonl", ({"text": line} for line in unread))


def is_held_out(row: dict[str, Any]) -> bool:
    return hash_side(row["text"], validation=HELD_OUT, test=None, seed=SEED) == "validation"


def rows_of(sample: str) -> Iterator[dict[str, Any]]:
    with gzip.open(locate(sample), "rt", encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)


def write(file: Path, rows: Iterable[dict[str, Any]]) -> None:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def measure(task: str, backbone: str, options: argparse.Namespace, *, seed: int) -> dict[str, float]:
    """F1 of one head after its last step."""
    held_out, gold = options.work / "held_out.jsonl", options.work / "gold.jsonl"
    sets = [
        f"seed={seed}",
        f"data.path={options.work / 'silver.jsonl'}",
        f"data.split={{kind: files, validation: {held_out}, test: {gold}}}",
        *on_backbone(backbone, options),
        *QUIET,
        *length(options),
    ]
    run = train(TASKS[task], sets)
    (finish,) = (event for event in run.read_events() if event["event"] == "finish")
    return {"silver": finish["eval_f1"], "gold": finish["test_f1"]}


def on_backbone(name: str, options: argparse.Namespace) -> list[str]:
    """What a head's job says of where it starts."""
    if name == "fresh":
        vocabulary = made("general, glosses", options)
        tokenizer = f"data.tokenizer={{kind: pretrained, path: run:{vocabulary}, {TERMS}}}"
        return [tokenizer, f"model.init={SCRATCH}", "model.allow_new=[]"]
    start = made(name, options)
    terms = "" if name == "general" else f", {TERMS}"
    plain = [PLAIN] if name == "general" else []
    return [
        f"data.tokenizer={{kind: pretrained, path: run:{start}{terms}}}",
        *plain,
        f"model.init={{kind: run, id: {start}}}",
    ]


def made(name: str, options: argparse.Namespace) -> str:
    """The id of a backbone, which is trained where it is not yet."""
    file: Path = options.work / f"{name.replace(', ', '_')}.id"
    if not file.exists():
        sets = [f"seed={SEED}", *corpus_of(name, options), *QUIET, "evaluation.early_stopping=null", *length(options)]
        file.write_text(train(DAPT, sets).id, encoding="utf-8")
    return file.read_text(encoding="utf-8")


def corpus_of(name: str, options: argparse.Namespace) -> list[str]:
    if name == "glosses":
        return [f"data.path={options.work / 'glosses.jsonl'}"]
    if name == "general":
        tokenizer = "data.tokenizer={kind: train, algorithm: unigram, vocab_size: 4096}"
        return [f"data.path={options.work / 'general.jsonl'}", tokenizer, PLAIN]
    start = made("general", options)
    return [
        f"data.path={options.work / 'glosses.jsonl'}",
        f"data.tokenizer={{kind: pretrained, path: run:{start}, {TERMS}}}",
        f"model.init={{kind: run, id: {start}}}",
    ]


def length(options: argparse.Namespace) -> list[str]:
    return [] if options.steps is None else [f"training.length={options.steps} steps"]


def table(found: Found) -> str:
    """Mean of the seeds, and the lowest and the highest."""
    lines = ["| backbone | task | silver F1 | gold F1 |", "|---|---|---|---|"]
    for task, backbones in found.items():
        for name, seeds in backbones.items():
            cells = [spread([one[side] for one in seeds.values()]) for side in ("silver", "gold")]
            lines.append(f"| {name} | {task} | {' | '.join(cells)} |")
    return "\n".join(lines)


def spread(values: list[float]) -> str:
    return f"{statistics.mean(values):.3f} ({min(values):.3f} to {max(values):.3f})"


if __name__ == "__main__":
    sys.exit(main())
