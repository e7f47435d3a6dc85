"""`runjob tokenizer` as a user types it: build, extend, check, and what is refused before anything is written."""

import json
from pathlib import Path


def test_a_tokenizer_is_built_as_the_job_trains_it_extended_and_checked(runjob, home, job):
    (home.path / "text.txt").write_text("".join(f"de vis zwemt {number} keer om de rots\n" for number in range(99)))
    (home.path / "taxa.txt").write_text("Olenellus\nvissen\nKärnten\n", encoding="utf-8")
    (home.path / "new.txt").write_text("de vissen (Olenellus)\n" * 9)
    sets = ("--set", "data.tokenizer.vocab_size=270", "--set", "data.split.validation=0.3")
    assert runjob("tokenizer", "build", "--job", job, *sets, "--to", "base").stdout == "base: 270 tokens\n"
    (store,) = home.cache.glob("stores/*/tokenizer/tokenizer.json")
    assert (home.path / "base" / "tokenizer.json").read_bytes() == store.read_bytes()
    answer = runjob("tokenizer", "extend", "base", "--terms", "taxa=taxa.txt", "--to", "more", "--json")
    said = json.loads(answer.stdout)
    assert (said["added"], said["base_tokens"]) == (3, 270)
    assert said["categories"] == {"taxa": {"Olenellus": 270, "vissen": 271, "Kärnten": 272}}
    checked = runjob("tokenizer", "check", "more", "--max-fragmentation", "0", "--corpus", "new.txt")
    assert checked.returncode == 0, checked.stderr
    assert "overall" in checked.stdout and "terms in it: 18, cut: 0" in checked.stdout
    failed = runjob("tokenizer", "check", "base", "--terms", "taxa=taxa.txt", "--max-fragmentation", "0.05", "--json")
    assert failed.returncode == 1
    report = json.loads(failed.stdout)
    assert report["passed"] is False and report["overall"]["fragmentation"] == 1.0
    assert report["worst"][0]["term"] == "Olenellus"


def test_what_is_wrong_is_said_with_what_to_type_and_nothing_is_written(runjob, home, job):
    (home.path / "empty.txt").touch()
    (home.path / "base").mkdir()
    (home.path / "base" / "tokenizer.json").write_text("{}")
    cases = {
        ("tokenizer", "chek", "x"): (2, "did you mean `check`"),
        ("tokenizer", "build", "--to", "new"): (2, "name files to learn from, or a job with --job"),
        ("tokenizer", "build", "text.txt", "--to", "new"): (2, "write --algorithm bpe, wordpiece or unigram"),
        ("tokenizer", "extend", "base", "--to", "new"): (2, "--terms taxa=taxa.txt"),
        ("tokenizer", "extend", "./none", "--terms", "a=b", "--to", "new"): (2, "./none: no such directory"),
        ("tokenizer", "extend", "text.txt", "--terms", "a=b", "--to", "new"): (2, "text.txt: is a file"),
        ("tokenizer", "extend", "base", "--terms", "taxa", "--to", "new"): (2, "write CATEGORY=FILE"),
        ("tokenizer", "extend", "base", "--terms", "a=b", "--terms", "a=c", "--to", "new"): (2, "named twice"),
        ("tokenizer", "check", "nobody/none", "--terms", "a=text.txt"): (2, "nobody/none: neither a tokenizer's dir"),
        ("tokenizer", "check", "base", "--max-fragmentation", "5"): (2, "a share between 0 and 1"),
        ("tokenizer", "extend", "base", "--terms", "a=empty.txt", "--to", "new"): (1, "empty.txt: is empty (0 bytes)"),
    }
    for words, (code, said) in cases.items():
        answer = runjob(*words)
        assert (answer.returncode, said in answer.stderr) == (code, True), (words, answer.stderr)
        assert "Traceback" not in answer.stderr
    assert not (home.path / "new").exists()
    assert not [path for path in Path(home.path).iterdir() if path.name.startswith(".building")]


def test_a_file_is_normalised_as_the_job_does_it_and_aligned_with_its_raw_text(runjob, home, job):
    (home.path / "strata.txt").write_text("Burgess_Shale\n")
    rows = [{"id": "a-1", "text": "The  Burgess Shale "}, {"id": "a-2", "text": "e\u0301"}]
    (home.path / "raw.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    normalize = "data.normalize={unicode: NFC, whitespace: collapse, join_terms: true}"
    sets = ("--set", normalize, "--set", "data.tokenizer.terms={strata: strata.txt}")
    answer = runjob("tokenizer", "normalize", "raw.jsonl", "--job", job, *sets, "--to", "new.jsonl")
    assert answer.stdout == "new.jsonl: 2 documents with norm_text and align_map\n"
    first, second = map(json.loads, (home.path / "new.jsonl").read_text(encoding="utf-8").splitlines())
    assert (first["id"], first["norm_text"], second["norm_text"]) == ("a-1", "The Burgess_Shale", "é")
    assert first["align_map"][:5] == [[0, 1], [1, 2], [2, 3], [3, 5], [5, 18]]
    assert second["align_map"] == [[0, 2]]
    with (home.path / "raw.jsonl").open("a") as file:
        file.write("[1]\n")
    bad = runjob("tokenizer", "normalize", "raw.jsonl", "--job", job, "--to", "bad.jsonl")
    assert (bad.returncode, "raw.jsonl:3: is an array and not an object" in bad.stderr) == (1, True)
    assert not (home.path / "bad.jsonl").exists()


def test_the_group_lists_its_commands(runjob):
    alone = runjob("tokenizer")
    assert alone.returncode == 2
    assert all(f"runjob tokenizer {word}" in alone.stdout for word in ("build", "extend", "check", "normalize"))
    assert runjob("tokenizer", "--help").returncode == 0
