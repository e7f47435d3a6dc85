"""Build a corpus of any size out of the shipped samples, for benchmarks: no network, and the same bytes every time.

    python scripts/build_corpus.py OUT.txt --bytes 1G                     (or OUT.jsonl; .gz behind either packs it)
    python scripts/build_corpus.py names.txt --sample domains --documents 10M --copies 0.1

The first round is the sample as it is. Every later round takes one word in eight from elsewhere in the sample, drawn by
(seed, round), and ends each document with its number, so that no two documents are equal and compression gains what it
gains on real text. `--copies` is a share of documents that are exact copies of an earlier one, for deduplication; how
many there are is printed with the rest.
"""

import argparse
import gzip
import json
import random
import sys
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import BinaryIO, cast

SAMPLES = Path(__file__).parent.parent / "data" / "samples"
UNITS = {"k": 10**3, "M": 10**6, "G": 10**9}
# One word in so many is another one: the text stays text, and its vocabulary stays the sample's.
CHANGED = 8
# Copies are drawn from so many documents before them: far enough to be on both sides of any buffer.
REACH = 100_000
PACKING = 6


def amount(text: str) -> int:
    """`1G` and `250k` as a whole number."""
    return int(float(text[:-1]) * UNITS[text[-1]]) if text[-1:] in UNITS else int(float(text))


def read_documents(name: str, *, paragraphs: bool) -> list[str]:
    """Every different document of a sample, in its order; a JSON object's is its `text`."""
    [file] = SAMPLES.glob(f"{name}.*.gz")
    text = gzip.decompress(file.read_bytes()).decode()
    if file.name.endswith(".jsonl.gz"):
        found = [json.loads(line)["text"] for line in text.splitlines()]
    else:
        found = text.split("\n\n" if paragraphs else "\n")
    return list(dict.fromkeys(stripped for one in found if (stripped := one.strip())))


def changed_documents(samples: list[list[str]], *, seed: int) -> Iterator[str]:
    """The samples' documents as they are, then round after round with words exchanged, without end."""
    documents = list(dict.fromkeys(document for sample in samples for document in sample))
    yield from documents
    cut: list[tuple[list[str], list[str]]] = []
    for sample in samples:
        own = [document.split(" ") for document in sample]
        words = [word for one in own for word in one]
        cut += [(one, words) for one in own]
    number = len(documents)
    for turn in count(1):
        drawn = random.Random(f"{seed}/{turn}").random
        for one, words in cut:
            exchanged = one.copy()
            for _ in range(-(-len(one) // CHANGED)):
                exchanged[int(drawn() * len(one))] = words[int(drawn() * len(words))]
            number += 1
            yield f"{' '.join(exchanged)} {number}"


def with_copies(documents: Iterator[str], *, share: float, seed: int) -> Iterator[tuple[str, bool]]:
    """Each document, and whether it is a copy of an earlier one."""
    if not share:
        yield from ((document, False) for document in documents)
        return
    drawn = random.Random(f"{seed}/copies").random
    kept: list[str] = []
    for number, document in enumerate(documents):
        while kept and drawn() < share:
            yield kept[int(drawn() * len(kept))], True
        yield document, False
        if len(kept) < REACH:
            kept.append(document)
        else:
            kept[number % REACH] = document


def open_out(out: Path) -> BinaryIO:
    if out.suffix == ".gz":  # no date and no name inside, so the same options give the same bytes
        packed = gzip.GzipFile(filename="", fileobj=out.open("wb"), mode="wb", compresslevel=PACKING, mtime=0)
        return cast("BinaryIO", packed)
    return out.open("wb")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--bytes", type=amount, help="at least so many, before packing: 100M, 1G")
    parser.add_argument("--documents", type=amount, help="or so many documents: 10M")
    parser.add_argument(
        "--sample", action="append", help="dutch, english, domains or paleo; repeatable (english, dutch)"
    )
    parser.add_argument(
        "--paragraphs", action="store_true", help="a document is a block between blank lines, not a line"
    )
    parser.add_argument("--copies", type=float, default=0.0, help="share of exact copies, 0 to below 1")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    if (args.bytes is None) == (args.documents is None):
        parser.error("give either --bytes or --documents")
    if not 0 <= args.copies < 1:
        parser.error("--copies is a share from 0 to below 1")
    samples = args.sample or ["english", "dutch"]
    documents = [read_documents(name, paragraphs=args.paragraphs) for name in samples]
    as_json = ".jsonl" in args.out.suffixes
    between = "\n\n" if args.paragraphs and not as_json else "\n"
    written = copies = size = 0
    with open_out(args.out) as file:
        stream = changed_documents(documents, seed=args.seed)
        for text, is_copy in with_copies(stream, share=args.copies, seed=args.seed):
            line = json.dumps({"id": written, "text": text}, ensure_ascii=False) if as_json else text
            size += file.write(f"{line}{between}".encode())
            written += 1
            copies += is_copy
            if size >= (args.bytes or sys.maxsize) or written == args.documents:
                break
    print(json.dumps({"bytes": size, "documents": written, "copies": copies, "samples": samples, "seed": args.seed}))


if __name__ == "__main__":
    main()
