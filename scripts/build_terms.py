"""Build `sample:paleo_taxa`, `paleo_times` and `paleo_rocks` again from `sample:paleo`, and their notices.

    python scripts/build_terms.py [--out DIR]

    paleo_taxa    names behind a rank (genus Felis, order Carnivora), the more frequent ones
    paleo_times   periods, epochs, eras and eons of the earth
    paleo_rocks   minerals and rocks; words of one term are joined by `_`

The order is that of the alphabet and the packed files hold no date, so the same corpus gives the same bytes.
"""

import argparse
import gzip
import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

SAMPLES = Path(__file__).parent.parent / "data" / "samples"
RANKS = "genus|family|superfamily|subfamily|order|suborder|class|subclass|phylum|subphylum|division"
TAXON = re.compile(rf"\b(?:{RANKS}) ([A-Z][a-z]+)\b")
TIME = re.compile(r"(?:^|\(also |, )([A-Z][a-z]+(?: [A-Z][a-z]+)?) (?:period|epoch|era|eon)\b")
ROCK = re.compile(r"^(?:an? |any |\([a-z ]+\) )?(?:[\w-]+ ){0,4}?(?:mineral|rock|ore|gemstone|limestone|sandstone)\b")
# So often a name must stand in the corpus: what is met once or twice can't be learnt.
OFTEN = {"paleo_taxa": 6, "paleo_times": 2, "paleo_rocks": 3}
WHAT = {
    "paleo_taxa": "names of genera, families, orders and other ranks",
    "paleo_times": "names of geological periods, epochs, eras and eons",
    "paleo_rocks": "names of minerals and rocks, words of one name joined by `_`",
}


def rows() -> list[dict[str, str]]:
    with gzip.open(SAMPLES / "paleo.jsonl.gz", "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def found(row: dict[str, str]) -> Iterator[tuple[str, str]]:
    """(list, term) of one gloss: its names stand before the colon, what it is behind it."""
    names, _, gloss = row["text"].partition(": ")
    for taxon in TAXON.findall(names):
        yield "paleo_taxa", taxon
    if re.search(r"\byears\b", gloss):
        for time in TIME.findall(names):
            yield "paleo_times", time
    if ROCK.match(gloss) and "fern" not in gloss and re.fullmatch(r"[a-z]+(?: [a-z]+)?", row["title"]):
        yield "paleo_rocks", row["title"]


def build(out: Path) -> None:
    corpus = rows()
    text = "\n".join(row["text"] for row in corpus)
    lists: dict[str, set[str]] = {name: set() for name in WHAT}
    for row in corpus:
        for name, term in found(row):
            lists[name].add(term)
    counts = Counter(re.findall(r"(?=\b(\w+)\b)", text)) + Counter(re.findall(r"(?=\b(\w+ \w+)\b)", text))
    licence = (SAMPLES / "paleo.LICENSE").read_text(encoding="utf-8").partition("---\n")[0]
    for name, terms in lists.items():
        kept = sorted(term.replace(" ", "_") for term in terms if counts[term] >= OFTEN[name])
        packed = gzip.compress("".join(f"{term}\n" for term in kept).encode(), compresslevel=9, mtime=0)
        (out / f"{name}.txt.gz").write_bytes(packed)
        notice = (
            f"The terms in {name}.txt.gz are taken from WordNet 3.0: {WHAT[name]}.\n"
            f"How they were found: scripts/build_terms.py, out of paleo.jsonl.gz. {len(kept)} documents (a term is "
            f"one).\n\n{licence}"
        )
        (out / f"{name}.LICENSE").write_text(notice, encoding="utf-8")
        print(f"{name}: {len(kept)} terms, {sum(map(len, kept)) + len(kept):,} characters")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=SAMPLES)
    build(parser.parse_args().out)


if __name__ == "__main__":
    main()
