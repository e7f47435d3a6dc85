"""Does it help a small masked model to have the words of its field as tokens? jobs/tiny/paleo_dapt.yaml is trained with
its term lists and without them, and both models fill the same gaps.

    python benchmarks/extended_vocabulary.py [--steps 1500] [--seeds 1 2 3]

Gaps are words of the validation side (what stands between white space), 15 % of them, chosen by a hash of the text
alone, each of their tokens replaced by the mask. What is compared is the summed loss over those words in bits, over
their bytes: two vocabularies share nothing else. A word of several tokens shows the model how many there are, and its
tokens are guessed without each other, so a vocabulary of pieces gains by the one and loses by the other.
"""

import argparse
import gzip
import hashlib
import json
import math
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F
from transformers import AutoModelForMaskedLM, AutoTokenizer

from runjob.data.samples import locate
from runjob.data.terms import read_table
from runjob.schemas.run import RunDir, home

JOB = Path(__file__).parent.parent / "jobs" / "tiny" / "paleo_dapt.yaml"
NAMES = ("extended", "as it was")
SHARE, LENGTH, ROWS = 0.15, 64, 64
WORD = re.compile(r"\S+")


@dataclass(kw_only=True)
class Measured:
    """Of some gaps: bits, bytes, tokens and words."""

    nats: float = 0.0
    bytes: int = 0
    tokens: int = 0
    words: int = 0

    @property
    def bits_per_byte(self) -> float:
        return self.nats / math.log(2) / self.bytes if self.bytes else math.nan


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    args = parser.parse_args()
    print(
        "| seed | vocabulary | all words | terms | other words | tokens a gap | gaps |\n|---|---|---|---|---|---|---|"
    )
    with tempfile.TemporaryDirectory() as folder:
        texts = write_sides(Path(folder))
        for seed in args.seeds:
            models = {
                name: train(Path(folder), name, seed=seed, steps=args.steps) for name in ("extended", "as it was")
            }
            table = read_table(models["extended"])
            assert table is not None
            terms = {term for held in table.categories.values() for term in held}
            tokenizers = {name: AutoTokenizer.from_pretrained(path) for name, path in models.items()}
            read = [text for text in texts if all(len(t(text).input_ids) <= LENGTH for t in tokenizers.values())]
            for name, path in models.items():
                print(row(seed, name, measure(path, tokenizers[name], read, terms)), flush=True)
    return 0


def write_sides(folder: Path) -> list[str]:
    """train.jsonl and validation.jsonl, a tenth of the glosses by a hash of their text, which is returned."""
    with gzip.open(locate("paleo"), "rt", encoding="utf-8") as file:
        texts = [str(json.loads(line)["text"]) for line in file]
    validation = [text for text in texts if draw(text, "side") < 0.1]
    for name, side in (("train", set(texts) - set(validation)), ("validation", set(validation))):
        lines = (json.dumps({"text": text}) + "\n" for text in texts if text in side)
        (folder / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
    return list(dict.fromkeys(validation))


def draw(text: str, *key: object) -> float:
    """A number in [0, 1) by the text and a key."""
    digest = hashlib.sha256(json.dumps([text, *key]).encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def train(folder: Path, name: str, *, seed: int, steps: int) -> Path:
    """The model of the job, with its terms or without."""
    sets = [
        f"seed={seed}",
        f"training.length={steps} steps",
        f"data.path={folder / 'train.jsonl'}",
        f"data.split={{kind: files, validation: {folder / 'validation.jsonl'}}}",
        "data.normalize.join_terms=false",  # both read the same text, so terms of several words stay apart
        "evaluation.best=loss",
        "evaluation.early_stopping=null",
        f"evaluation.every={steps} steps",
        "evaluation.at_start=false",
        "training.checkpoint.every=never",
        "hardware.threads=1",  # small networks gain little by a second one, and lose much where it is not free
        *([] if name == "extended" else ["data.tokenizer.terms={}"]),
    ]
    argv = [sys.executable, "-m", "runjob.runner", str(JOB), *(word for one in sets for word in ("--set", one))]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)
    return RunDir(home() / done.stdout.splitlines()[0]).model


def batches(texts: list[str]) -> Iterator[list[str]]:
    ordered = sorted(texts, key=len)
    for start in range(0, len(ordered), ROWS):
        yield ordered[start : start + ROWS]


@torch.no_grad()
def measure(path: Path, tokenizer: Any, texts: list[str], terms: set[str]) -> dict[str, Measured]:  # noqa: ANN401
    network = AutoModelForMaskedLM.from_pretrained(path).eval()
    found = {"all": Measured(), "terms": Measured(), "others": Measured()}
    for batch in batches(texts):
        encoded = tokenizer(batch, padding=True, return_offsets_mapping=True, return_tensors="pt")
        labels, inputs = encoded.input_ids, encoded.input_ids.clone()
        gaps = [hide(text, encoded.offset_mapping[row].tolist()) for row, text in enumerate(batch)]
        for row, hidden in enumerate(gaps):
            for places in hidden.values():
                inputs[row, places] = tokenizer.mask_token_id
        logits = network(input_ids=inputs, attention_mask=encoded.attention_mask).logits
        losses = F.cross_entropy(logits.transpose(1, 2), labels, reduction="none")
        for row, hidden in enumerate(gaps):
            for word, places in hidden.items():
                kind = "terms" if word[1].strip("(),;:.\"'") in terms else "others"
                for one in (found["all"], found[kind]):
                    one.nats += float(losses[row, places].double().sum())
                    one.bytes += len(word[1].encode())
                    one.tokens += len(places)
                    one.words += 1
    return found


def hide(text: str, offsets: list[list[int]]) -> dict[tuple[int, str], list[int]]:
    """The chosen words, each with the places of its tokens; the choice knows the text and no token."""
    chosen = {}
    for number, word in enumerate(WORD.finditer(text)):
        if draw(text, number) < SHARE:
            places = [at for at, (start, end) in enumerate(offsets) if start < word.end() and end > word.start()]
            chosen[number, word[0]] = places
    return chosen


def row(seed: int, name: str, found: dict[str, Measured]) -> str:
    bits = " | ".join(f"{found[kind].bits_per_byte:.4f}" for kind in ("all", "terms", "others"))
    gaps, terms = found["all"], found["terms"]
    tokens = f"{gaps.tokens / gaps.words:.2f} ({terms.tokens / terms.words:.2f} of a term)"
    return f"| {seed} | {name} | {bits} | {tokens} | {gaps.words:,} ({terms.words:,} terms) |"


if __name__ == "__main__":
    sys.exit(main())
