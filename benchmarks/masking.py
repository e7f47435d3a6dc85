"""What masking hides, measured over a million units against what a job asks for: shares, replacements, span lengths.

    python benchmarks/masking.py

The text is the sample `english`, cut by a WordPiece vocabulary of 4,096 that is trained on it, in rows of 128; for
characters it is the sample `domains`, a host name a row.
"""

import dataclasses
import gzip
import sys
from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt

from runjob.data import characters
from runjob.data.corruptions import IGNORED, Masking, corrupt
from runjob.data.masked_rows import build_masking
from runjob.data.samples import locate
from runjob.data.tokenizers import train_wordpiece
from runjob.schemas.job_model import MaskedLM, Replace, Span

TOKENS, LENGTH = 1_000_000, 128
OBJECTIVE = MaskedLM(
    kind="mlm", unit="token", probability=0.15, replace=Replace(mask=0.8, random=0.1, keep=0.1), span=None
)


def main() -> int:
    with gzip.open(locate("english"), "rt", encoding="utf-8") as file:
        lines = [line for line in file if line.strip()]
    tokenizer = train_wordpiece(lambda: lines, vocab_size=4096, lowercase=True)
    encoded = tokenizer(lines, add_special_tokens=False).input_ids
    text = np.concatenate([np.array(ids, dtype=np.int64) for ids in encoded])
    print("| | nominal | tokens | words | spans of tokens | spans of characters |\n|---|---|---|---|---|---|")
    plain = build_masking(OBJECTIVE, tokenizer)
    words = build_masking(dataclasses.replace(OBJECTIVE, unit="word"), tokenizer)
    spans = dataclasses.replace(plain, span=Span(geometric=0.2, longest=10))
    measured = [measure(rows(text), masking) for masking in (plain, words, spans)]
    measured.append(measure(*names()))
    nominal = {"hidden": 0.15, "masked": 0.8, "replaced": 0.1, "kept": 0.1}
    for name, value in nominal.items():
        print(f"| {name} | {value:.4f} | " + " | ".join(f"{one[name]:.4f}" for one in measured) + " |")
    chances = 0.8 ** np.arange(10.0)
    chances /= chances.sum()
    for length, chance in enumerate(chances, start=1):
        found = " | ".join(f"{one[f'runs of {length}']:.4f}" for one in measured[2:])
        print(f"| runs of {length} | {chance:.4f} | | | {found} |")
    return 0


def names() -> tuple[list[npt.NDArray[np.int64]], Masking]:
    """Host names of TOKENS characters together, as CANINE reads them."""
    with gzip.open(locate("domains"), "rt", encoding="utf-8") as file:
        texts = [np.array([*map(ord, line.strip())], dtype=np.int64) for line in file]
    last = int(np.searchsorted(np.cumsum([len(text) for text in texts]), TOKENS)) + 1
    masking = Masking(
        probability=OBJECTIVE.probability,
        replace=OBJECTIVE.replace,
        span=Span(geometric=0.2, longest=10),
        mask_id=characters.MASK,
        special=characters.special_points(),
        ordinary=characters.replacements(np.concatenate(texts)),
        boundaries=None,
    )
    ends = np.array([characters.CLS]), np.array([characters.SEP])
    return [np.concatenate([ends[0], text, ends[1]]) for text in texts[:last]], masking


def rows(text: npt.NDArray[np.int64]) -> Iterator[npt.NDArray[np.int64]]:
    """As many rows as hold TOKENS, the text again where it ends."""
    for start in range(0, TOKENS, LENGTH):
        yield text[np.arange(start, start + LENGTH) % len(text)]


def measure(texts: Iterable[npt.NDArray[np.int64]], masking: Masking) -> dict[str, float]:
    hidden = masked = kept = total = 0
    runs = np.zeros(12, dtype=np.int64)
    for position, ids in enumerate(texts):
        inputs, labels = corrupt(ids, masking, key=(1, "train", position))
        chosen = labels != IGNORED
        total += int((~masking.special[ids]).sum())
        hidden += int(chosen.sum())
        masked += int((inputs[chosen] == masking.mask_id).sum())
        kept += int((inputs[chosen] == ids[chosen]).sum())
        edges = np.flatnonzero(np.diff(np.concatenate([[0], chosen, [0]]).astype(int)))
        runs += np.bincount(np.minimum(edges[1::2] - edges[::2], 11), minlength=12)
    shares = {"hidden": hidden / total, "masked": masked / hidden, "kept": kept / hidden}
    shares["replaced"] = 1 - shares["masked"] - shares["kept"]
    return shares | {f"runs of {length}": runs[length] / runs.sum() for length in range(1, 11)}


if __name__ == "__main__":
    sys.exit(main())
