"""A sample made of Debian's WordNet: the package unpacked, the rows packed, and its notice beside them."""

import argparse
import gzip
import json
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

PACKAGE = "wordnet-base"


def make_sample(
    name: str, rows_in: Callable[[Path], Iterable[Mapping[str, object]]], *, how: str, unit: str, about: str | None
) -> None:
    """`rows_in` WordNet's folder become `name`.jsonl.gz and `name`.LICENSE below --out; `how` they were made and what a
    `unit` is stand in the notice. The packed file holds no date, so the same package gives the same bytes."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent.parent / "data" / "samples")
    out: Path = parser.parse_args().out
    with tempfile.TemporaryDirectory() as scratch:
        rows = list(rows_in(unpacked(Path(scratch))))
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (out / f"{name}.jsonl.gz").write_bytes(gzip.compress(text.encode(), compresslevel=9, mtime=0))
    said, _, licence = (out / "paleo.LICENSE").read_text(encoding="utf-8").partition("\n\nUpstream:")
    notice = (
        f"The texts in {name}.jsonl.gz are{said.partition(' are')[2]}\n\nUpstream:{licence.partition('How it')[0]}"
        f"{how} {len(rows)} documents ({unit} is one).\n"
        f"\n{licence.partition('documents.' + chr(10) * 2)[2]}"
    )
    (out / f"{name}.LICENSE").write_text(notice, encoding="utf-8")
    print(f"{name}: {len(rows)} documents, {len(text):,} characters")


def unpacked(scratch: Path) -> Path:
    subprocess.run(("apt-get", "download", PACKAGE), cwd=scratch, check=True, stdout=subprocess.DEVNULL)
    [deb] = scratch.glob(f"{PACKAGE}_*.deb")
    subprocess.run(("dpkg", "-x", deb, scratch / "tree"), check=True)
    return scratch / "tree" / "usr" / "share" / "wordnet"
