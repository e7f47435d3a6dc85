"""The page of `runjob report`: it tells what the records tell, holds all that it needs, and whatever a user wrote stays
text in it. How it behaves in a browser is tests/runner/test_report_browser.py's."""

import base64
import hashlib
import json
import math
import re
import subprocess
import sys
import time
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runjob.runner.cli import main
from runjob.runner.curves import MOST_POINTS, curves_of, thin
from runjob.runner.history import read_history
from runjob.schemas.run import RunDir
from tests.conftest import ROOT
from tests.runner.recorded import HOSTILE, KILLED, STRAIGHT, edit_events, edit_json, lay_out, make_hostile


@pytest.fixture
def runs(home, monkeypatch):
    for name in ("RUNJOB_HOME", "RUNJOB_CACHE", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(name, home.env[name])
    lay_out(home.runs)
    return home.runs


@pytest.fixture
def report(runs, home, capsys):
    """The page about these runs, made in this process."""

    def make(*ids: str) -> str:
        target = home.path / "report.html"
        assert main(["report", *ids, "-o", str(target)]) == 0
        assert capsys.readouterr().out == f"{target}\n"
        return target.read_text(encoding="utf-8")

    return make


def scripts_of(page: str) -> list[str]:
    """What a browser would take for scripts, in their order."""
    return re.findall(r"<script[^>]*>(.*?)</script>", page, re.DOTALL)


def data_of(page: str) -> dict:
    return json.loads(scripts_of(page)[0])


def without_scripts(page: str) -> str:
    return re.sub(r"<script[^>]*>.*?</script>", "", page, flags=re.DOTALL)


class Text(HTMLParser):
    """What a reader sees, one string a cell, paragraph or block; and every attribute."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.seen: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.feed(without_scripts(page))

    def handle_starttag(self, tag, attrs):
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_data(self, data):
        self.seen += [data.strip()] if data.strip() else []


def test_each_curve_holds_what_the_records_say(report, runs):
    data = data_of(report(KILLED, STRAIGHT))
    records = [json.loads(line) for line in (runs / KILLED / "events.jsonl").read_text().splitlines()]
    train = [record for record in records if record["event"] == "train"]
    curves = {curve["key"]: curve for curve in data["curves"]}
    assert list(curves) == [
        "train/loss",
        "eval/loss",
        "eval/perplexity",
        "eval/bits_per_byte",
        "train/learning_rate",
        "train/grad_norm",
        "train/tokens_per_s",
        "train/memory",
    ]
    killed, straight = curves["train/loss"]["points"]
    assert (data["runs"][killed["run"]]["id"], data["runs"][straight["run"]]["id"]) == (KILLED, STRAIGHT)
    assert killed["step"] == [record["step"] for record in train] == list(range(1, 61))
    assert killed["tokens"] == [record["tokens"] for record in train]
    assert killed["value"] == pytest.approx([record["loss"] for record in train], rel=1e-6)
    evaluated = curves["eval/loss"]["points"][0]
    assert evaluated["step"] == [0, 10, 20, 30, 40, 50, 60]
    assert evaluated["tokens"] == [step * 512 for step in evaluated["step"]]
    assert evaluated["value"][evaluated["best"]] == min(evaluated["value"])
    assert curves["train/memory"]["points"][0]["value"][0] == pytest.approx(train[0]["memory"] / 2**20, rel=1e-6)


def test_attempts_are_marked_where_they_took_up_the_work(report, runs):
    page = report(KILLED, STRAIGHT)
    marks = [{name: mark[name] for name in ("run", "attempt", "step", "tokens")} for mark in data_of(page)["marks"]]
    assert marks == [
        {"run": 0, "attempt": 2, "step": 25, "tokens": 12800},
        {"run": 0, "attempt": 3, "step": 40, "tokens": 20480},
    ]
    assert [mark["taken_back"] for mark in data_of(page)["marks"]] == [0, 10]
    seen = Text(page).seen
    assert "preempted: training.stop_after: 25 steps" in seen and "ended without a word" in seen


def test_the_page_says_what_the_run_was_made_of_and_what_it_was_told(report, runs):
    seen = Text(report(KILLED)).seen
    for said in (
        "/home/ada/runjob/jobs/tiny/gpt2_dutch.yaml:50:18",
        "default",
        "AMD EPYC avx2 avx512f avx512_bf16",
        "versions.torch",
        "Kies een cel en de.\n de.\n\nIn in of.",
        "100.00% of the tokens that went in, 100.00% to 100.00% a step (of 60 recorded steps)",
        "unknown: the prepared store is not on this machine",
    ):
        assert said in seen
    assert any(one.startswith("Step 0: the run will see 0.033 tokens a parameter") for one in seen)
    assert any("rank 0 said, at step 60: finished, all steps done" in one for one in seen)


def test_of_several_runs_the_rows_that_differ_say_so(report, runs):
    page = report(KILLED, STRAIGHT)
    differing = re.findall(r'<tr class="differs"><th scope="row">(.*?)</th>', page)
    assert "training.learning_rate" in differing and "optimizer.params.lr" in differing
    assert "seed" not in differing and "versions.torch" not in differing
    seen = Text(page).seen
    first = seen.index("How the runs did")
    head, killed, straight = seen[first + 1 : first + 11], seen[first + 11 : first + 21], seen[first + 21 : first + 32]
    assert head[:5] == ["Run", "State", "learning_rate", "Step", "Tokens"]
    assert killed[:8] == [KILLED, "finished", "0.006", "60 of 60", "30,720", "6.5674", "6.5674", "60"]
    assert straight[:9] == [STRAIGHT, "finished", "0.002", "60 of 60", "30,720", "6.3931", "best", "6.3931", "60"]


def test_the_share_of_hidden_tokens_is_that_of_the_recorded_steps(report, runs):
    def hide(record):
        if record["event"] == "train":
            record["predicted"] = 64 if record["step"] % 2 else 128

    edit_events(runs / STRAIGHT, hide)
    edit_json(
        runs / STRAIGHT / "job.json",
        lambda value: value["job"].update(
            objective={
                "kind": "mlm",
                "unit": "token",
                "probability": 0.15,
                "span": None,
                "replace": {"mask": 0.8, "random": 0.1, "keep": 0.1},
            }
        ),
    )
    seen = Text(report(STRAIGHT)).seen
    assert seen[seen.index("objective.probability") + 1] == "0.15"
    assert "18.75% of the tokens that went in, 12.50% to 25.00% a step (of 60 recorded steps)" in seen


def test_counts_of_documents_are_those_of_the_runs_own_store(report, runs, home):
    store = home.path / "store"
    store.mkdir()
    edit_json(runs / KILLED / "data.json", lambda value: value.update(store=str(store)))
    prepared = json.loads((runs / KILLED / "data.json").read_text())
    side = {"documents": 2196, "tokens": 667854, "bytes": 2962627}
    written = {"fingerprint": "another", "train": side, "validation": None, "left_out": {"duplicates": 3, "short": 0}}
    (store / "store.json").write_text(json.dumps(written))
    assert "2,196 documents, 667,854 tokens, 2,962,627 bytes" not in Text(report(KILLED)).seen
    (store / "store.json").write_text(json.dumps(written | {"fingerprint": prepared["fingerprint"]}))
    seen = Text(report(KILLED)).seen
    assert "2,196 documents, 667,854 tokens, 2,962,627 bytes" in seen and "3 duplicates" in seen


def test_whatever_a_user_wrote_is_text(report, runs):
    make_hostile(runs / KILLED)
    page = report(KILLED)
    assert len(scripts_of(page)) == 3
    assert "<" not in scripts_of(page)[0]
    shown = Text(page)
    assert HOSTILE in " ".join(shown.seen)
    assert not [one for one in shown.attributes if one[1].startswith("on") or one[0] in ("img", "iframe", "object")]
    assert without_scripts(page).count("<script") == 0


def test_the_page_asks_nobody_and_runs_its_own_scripts_alone(report, runs):
    page = report(KILLED)
    outside = [one for one in Text(page).attributes if "//" in one[2] or one[1] == "src"]
    assert outside == [], outside
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)[1]
    sums = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in scripts_of(page)[1:]]
    allowed = " ".join(f"'sha256-{one}'" for one in sums)
    assert policy.split("; ")[:2] == ["default-src 'none'", f"script-src {allowed}"]


def test_a_long_run_is_thinned_and_says_so(runs, report):
    lines = [
        {"event": "start", "step": 0, "time": 0.0, "attempt": 1},
        *(
            {
                "event": "train",
                "step": step,
                "time": step / 10,
                "attempt": 1,
                "loss": 5 + math.sin(step),
                "tokens": step,
            }
            for step in range(1, 30_001)
        ),
    ]
    lines[12_345]["loss"] = 99.0
    lines[20_000]["loss"] = math.nan
    (runs / STRAIGHT / "events.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    began = time.process_time()
    page = report(STRAIGHT)
    assert time.process_time() - began < 3
    (curve,) = data_of(page)["curves"]
    (points,) = curve["points"]
    assert len(points["step"]) <= MOST_POINTS and points["total"] == 30_000
    assert points["value"][points["step"].index(12_345)] == 99.0
    assert points["value"][points["step"].index(20_000)] is None
    told = f"{STRAIGHT}: {len(points['step']):,} of 30,000 values, with the extremes of each stretch."
    assert told in Text(page).seen


@given(st.lists(st.floats(allow_nan=True), max_size=300), st.integers(10, 60))
def test_thinning_keeps_the_ends_the_extremes_and_a_gap(values, most):
    kept = thin(values, most=most)
    assert kept == sorted(set(kept)) and len(kept) <= most
    if values:
        assert {0, len(values) - 1} <= set(kept)
    finite = [value for value in values if math.isfinite(value)]
    if finite:
        there = [values[place] for place in kept]
        assert min(finite) in there and max(finite) in there
    assert any(not math.isfinite(values[place]) for place in kept) == (len(finite) < len(values))


def test_a_run_without_records_is_a_page_too(report, runs):
    (runs / STRAIGHT / "events.jsonl").unlink()
    assert "Nothing was recorded." in Text(report(STRAIGHT)).seen
    assert curves_of([read_history(RunDir(runs / STRAIGHT))]) == []


def test_records_of_an_earlier_runjob_without_memory_have_no_such_curve(report, runs):
    edit_events(runs / STRAIGHT, lambda record: record.pop("memory", None))
    assert "train/memory" not in [curve["key"] for curve in data_of(report(STRAIGHT))["curves"]]


def test_only_a_report_is_written_over(runs, home, capsys):
    target = home.path / "report.html"
    target.write_text("<p>mine</p>")
    assert main(["report", KILLED, "-o", str(target)]) == 2
    assert "is there already and is no report of runjob's; name another file" in capsys.readouterr().err
    assert target.read_text() == "<p>mine</p>"
    target.unlink()
    for _ in range(2):
        assert main(["report", KILLED, "-o", str(target)]) == 0
    assert main(["report", KILLED, "-o", str(home.path)]) == 2
    assert main(["report", KILLED, "-o", str(home.path / "no" / "report.html")]) == 2


def test_it_needs_no_torch_and_says_what_it_does_need(runs, home, tmp_path):
    code = (
        "import sys; from runjob.runner.cli import main; code = main(['report', 'latest']); "
        "print(sorted({'torch', 'numpy', 'plotly', 'transformers'} & set(sys.modules))); sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code], env=home.env, cwd=home.path, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "report.html\n[]\n"), done.stderr
    (tmp_path / "without" / "plotly").mkdir(parents=True)
    (tmp_path / "without" / "plotly" / "__init__.py").write_text("")
    env = {**home.env, "PYTHONPATH": str(tmp_path / "without")}
    done = subprocess.run([sys.executable, "-c", code], env=env, cwd=home.path, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == (
        "runjob: the plots of a report are drawn by Plotly, which is not here: pip install 'runjob[report]'\n"
    )


def luminance(colour: str) -> float:
    channels = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_colours_have_the_contrast_that_the_style_sheet_promises(scheme):
    css = Path(ROOT / "runner" / "report.css").read_text()
    blocks = re.findall(r":root \{(.*?)\}", css, re.DOTALL)
    colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", blocks[scheme]))
    for ink in ("ink", "faint", "accent"):
        for ground in ("ground", "panel"):
            assert contrast(colours[ink], colours[ground]) >= 4.5, (ink, ground)
    assert contrast(colours["ink"], colours["mark"]) >= 4.5 and contrast(colours["faint"], colours["mark"]) >= 4.5
    lines = [colours[f"run-{number}"] for number in range(8)]
    assert len(set(lines)) == 8
    # the number of an attempt is written in its run's colour
    assert all(contrast(line, colours["ground"]) >= 4.5 for line in lines)
