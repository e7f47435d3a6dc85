"""What objective plm predicts, by length of row, measured over a million tokens against what a job asks for.

    python benchmarks/permuted.py

The text is the sample `english`, a paragraph of at least 64 characters a row, the first 510 tokens of it, cut by a
WordPiece vocabulary of 4,096 that is trained on it; whole words, 15 %, 80/10/10. Beside it what the rule of
annotated-mpnet would predict of the same rows: one number for 16 rows of a batch, 15 % of the shortest.
"""

import gzip
import sys

import numpy as np
import numpy.typing as npt

from runjob.data.corruptions import IGNORED, Masking, corrupt
from runjob.data.masked_rows import build_masking
from runjob.data.order import Order
from runjob.data.samples import locate
from runjob.data.tokenizers import train_wordpiece
from runjob.schemas.job_model import MaskedLM, Replace

TOKENS, LONGEST, BATCH = 1_000_000, 510, 16
OBJECTIVE = MaskedLM(
    kind="mlm", unit="word", probability=0.15, replace=Replace(mask=0.8, random=0.1, keep=0.1), span=None
)
EDGES = (0, 32, 64, 128, 256, LONGEST)

Ints = npt.NDArray[np.int64]


def main() -> int:
    with gzip.open(locate("english"), "rt", encoding="utf-8") as file:
        lines = [line for line in file if len(line.strip()) >= 64]
    tokenizer = train_wordpiece(lambda: lines, vocab_size=4096, lowercase=True, marks="mpnet")
    encoded = tokenizer(lines, add_special_tokens=False).input_ids
    texts = [np.array(ids[:LONGEST]) for ids in encoded]
    masking = build_masking(OBJECTIVE, tokenizer)
    counts = np.zeros((len(EDGES) - 1, 7), dtype=np.int64)
    order, position, seen, theirs = Order(len(texts), seed=1), 0, 0, 0
    shortest: list[int] = []
    while seen < TOKENS:
        ids = texts[order.row_at(position)]
        counts[np.searchsorted(EDGES, len(ids)) - 1] += measure(ids, masking, position)
        seen += len(ids)
        shortest.append(len(ids))
        if len(shortest) == BATCH:
            theirs += BATCH * max(1, round(0.15 * min(shortest)))
            shortest = []
        position += 1
    print("| tokens of a row | rows | predicted | masked | replaced | kept | words | words cut |")
    print("|---|---|---|---|---|---|---|---|")
    for first, last, row in zip(EDGES, EDGES[1:], counts, strict=False):
        print(line(f"{first + 1} to {last}", row))
    print(line("all", counts.sum(0)))
    print(f"| one number a batch | | {theirs / seen:.4f} | | | | | |")
    return 0


def measure(ids: Ints, masking: Masking, position: int) -> Ints:
    """Rows, tokens, predicted, masked, kept, words, words that are hidden in part."""
    inputs, labels = corrupt(ids, masking, key=(1, "train", position))
    hidden = labels != IGNORED
    assert masking.boundaries is not None
    opens = masking.boundaries.opens[ids] | masking.special[ids]
    opens[1:] |= masking.special[ids[:-1]]
    opens[0] = True
    words = np.cumsum(opens) - 1
    share = np.bincount(words, weights=hidden) / np.bincount(words)
    masked, kept = int((inputs[hidden] == masking.mask_id).sum()), int((inputs[hidden] == ids[hidden]).sum())
    ordinary = int((~masking.special[ids]).sum())
    cut = int(((share > 0) & (share < 1)).sum())
    return np.array([1, ordinary, int(hidden.sum()), masked, kept, int(words[-1]) + 1, cut])


def line(name: str, row: Ints) -> str:
    rows, tokens, hidden, masked, kept, words, cut = row.tolist()
    shares = " | ".join(f"{one / hidden:.4f}" for one in (masked, hidden - masked - kept, kept))
    return f"| {name} | {rows:,} | {hidden / tokens:.4f} | {shares} | {words:,} | {cut} |"


if __name__ == "__main__":
    sys.exit(main())
