"""Build `sample:glosses`, names of WordNet's nouns and what they mean, and its notice.

    python scripts/make_glosses.py [--out DIR]     (apt-get and dpkg)

A pair is a meaning's names, the first of which means it first of all, and its gloss without the examples. No name and
no gloss stands twice, so each has one right answer. Which meanings: those that the hash of their place in WordNet
draws. The packed file holds no date and its order is fixed, so the same package gives the same bytes.
"""

import argparse
import gzip
import hashlib
import json
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from make_paleo_ner import EXAMPLE, PACKAGE, WordNet, read_wordnet

PAIRS = 8000
# In characters: a gloss of a word or two says too little, and a long one is cut off by small models
SHORTEST, LONGEST = 20, 200


def pairs(wordnet: WordNet) -> Iterator[dict[str, str]]:
    seen: set[str] = set()
    for offset in sorted(wordnet.meanings, key=lambda one: hashlib.sha256(one.encode()).digest()):
        meaning = wordnet.meanings[offset]
        gloss = EXAMPLE.split(meaning.gloss)[0].strip()
        first = wordnet.senses[meaning.names[0].lower()][0]
        texts = {gloss, *(name.lower() for name in meaning.names)}
        if first == offset and SHORTEST <= len(gloss) <= LONGEST and not texts & seen:
            seen |= texts
            yield {"text": ", ".join(meaning.names), "gloss": gloss, "source": f"wn-{offset}"}


def build(out: Path, scratch: Path) -> None:
    subprocess.run(("apt-get", "download", PACKAGE), cwd=scratch, check=True, stdout=subprocess.DEVNULL)
    [deb] = scratch.glob(f"{PACKAGE}_*.deb")
    subprocess.run(("dpkg", "-x", deb, scratch / "tree"), check=True)
    rows = [row for row, _ in zip(pairs(read_wordnet(scratch / "tree/usr/share/wordnet")), range(PAIRS), strict=False)]
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (out / "glosses.jsonl.gz").write_bytes(gzip.compress(text.encode(), compresslevel=9, mtime=0))
    about, _, licence = (out / "paleo.LICENSE").read_text(encoding="utf-8").partition("\n\nUpstream:")
    notice = (
        f"The texts in glosses.jsonl.gz are{about.partition(' are')[2]}\n\nUpstream:{licence.partition('How it')[0]}"
        f"How they were chosen: scripts/make_glosses.py. {len(rows)} documents (a pair of names and gloss is one).\n"
        f"\n{licence.partition('documents.' + chr(10) * 2)[2]}"
    )
    (out / "glosses.LICENSE").write_text(notice, encoding="utf-8")
    print(f"glosses: {len(rows)} pairs, {len(text):,} characters")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent.parent / "data" / "samples")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        build(args.out, Path(scratch))


if __name__ == "__main__":
    main()
