"""scripts/build_corpus.py: as much real text as a benchmark asks for, the same every time, with known copies."""

import gzip
import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "scripts" / "build_corpus.py"


def build(*words: str | Path) -> dict[str, int]:
    done = subprocess.run((sys.executable, SCRIPT, *words), capture_output=True, text=True, timeout=120, check=True)
    said: dict[str, int] = json.loads(done.stdout)
    return said


def test_a_corpus_larger_than_the_samples_has_no_two_equal_documents(tmp_path: Path):
    said = build(tmp_path / "a.txt", "--bytes", "12M")
    lines = (tmp_path / "a.txt").read_text(encoding="utf-8").splitlines()
    assert (tmp_path / "a.txt").stat().st_size == said["bytes"] >= 12_000_000
    assert len(set(lines)) == len(lines) == said["documents"]


def test_copies_are_as_many_as_it_says(tmp_path: Path):
    said = build(tmp_path / "a.txt", "--sample", "domains", "--documents", "20k", "--copies", "0.25")
    lines = (tmp_path / "a.txt").read_text(encoding="utf-8").splitlines()
    assert said["documents"] == len(lines) == 20_000
    assert said["copies"] == len(lines) - len(set(lines))
    assert 0.22 < said["copies"] / said["documents"] < 0.28


def test_the_same_options_give_the_same_packed_bytes(tmp_path: Path):
    for name in ("a.jsonl.gz", "b.jsonl.gz"):
        build(tmp_path / name, "--bytes", "300k", "--paragraphs")
    assert (tmp_path / "a.jsonl.gz").read_bytes() == (tmp_path / "b.jsonl.gz").read_bytes()
    rows = [json.loads(line) for line in gzip.decompress((tmp_path / "a.jsonl.gz").read_bytes()).splitlines()]
    assert [row["id"] for row in rows] == list(range(len(rows)))
    assert rows[0]["text"].startswith("CHAPTER 1")
