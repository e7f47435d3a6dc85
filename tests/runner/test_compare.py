"""`diff`, `compare` and `plan --diff` on runs that real processes left: what differs, all of it, and who did best."""

import json
import shutil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runjob.runner.cli import main
from runjob.runner.comparison import varying_paths
from runjob.runner.differences import find_differences
from runjob.runner.grid import legible
from runjob.runner.history import read_history
from runjob.runner.run_facts import Fact
from runjob.schemas.run import RunDir
from tests.conftest import ROOT
from tests.runner.recorded import KILLED, STRAIGHT, edit_events, edit_json, lay_out

JOB = ROOT / "jobs" / "tiny" / "gpt2_dutch.yaml"
SAME_AS_KILLED = (
    "training.length=60 steps",
    "training.log_every=1 steps",
    "training.checkpoint.every=20 steps",
    "evaluation.every=10 steps",
    "tracking.tensorboard=false",
    "hardware.threads=1",
    "data.sequence_length=64",
)


@pytest.fixture
def runs(home, monkeypatch):
    for name in ("RUNJOB_HOME", "RUNJOB_CACHE", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(name, home.env[name])
    lay_out(home.runs)
    return home.runs


@pytest.fixture
def answer(runs, capsys):
    """What `runjob ...` prints: in this process, since a new one takes 0.3 s each time."""

    def ask(*words, expect=0):
        code = main(list(map(str, words)))
        said = capsys.readouterr()
        assert code == expect, said.out + said.err
        return said.out if expect == 0 else said.err

    return ask


@pytest.fixture
def differences(answer):
    def ask(*words) -> dict[tuple[str, str], dict]:
        return {(one["group"], one["name"]): one for one in json.loads(answer(*words, "--json"))["differences"]}

    return ask


def test_a_diff_names_everything_that_differs_and_nothing_else(differences, runs):
    found = differences("diff", KILLED, STRAIGHT)
    assert found["job", "training.learning_rate"] == {
        "group": "job",
        "name": "training.learning_rate",
        "a": {"value": 0.006, "origin": "/home/ada/runjob/jobs/tiny/gpt2_dutch.yaml:50:18"},
        "b": {"value": 0.002, "origin": "--set"},
    }
    assert [name for group, name in found if group == "job"] == ["training.learning_rate"]
    assert [name for group, name in found if group == "deepspeed"] == ["optimizer.params.lr"]
    assert [name for group, name in found if group in ("data", "environment")] == []
    assert {name for group, name in found if group == "code"} == {"sha256", "files"}
    assert (found["results", "attempts"]["a"]["value"], found["results", "attempts"]["b"]["value"]) == (3, 1)
    assert found["results", "eval_loss"]["a"]["value"] == 6.567428349969779


def test_a_diff_of_a_run_with_itself_is_empty(answer, runs):
    assert answer("diff", KILLED, "gpt2_dutch_tiny-f9") == f"{KILLED} and {KILLED} differ in nothing\n"


def test_a_diff_tells_versions_threads_data_and_what_one_of_them_lacks(differences, runs):
    def other_place(record):
        if record["event"] == "start":
            record["versions"]["torch"] = "2.14.0"
            record["threads"] = 2
            record["hashes"]["data"] = "0" * 64

    edit_events(runs / STRAIGHT, other_place)
    edit_json(runs / STRAIGHT / "job.json", lambda value: value["job"]["tracking"].pop("profile"))
    found = differences("diff", KILLED, STRAIGHT)
    assert found["environment", "versions.torch"]["b"] == {"value": "2.14.0", "origin": "start event"}
    assert found["environment", "threads"]["b"]["value"] == 2
    assert found["data", "content"]["b"]["value"] == "0" * 64
    # an older runjob's job.json lacks the field; what it means now is the default, which is what the other has
    assert ("job", "tracking.profile") not in found


def test_a_diff_names_the_files_of_the_code_that_differ(differences, runs):
    for name, text in ((KILLED, "a = 1\n"), (STRAIGHT, "a = 2\n")):
        package = runs / name / "code" / "runjob"
        package.mkdir(parents=True)
        (package / "same.py").write_text("b = 1\n")
        (package / "other.py").write_text(text)
    (runs / STRAIGHT / "code" / "runjob" / "new.py").write_text("")
    found = differences("diff", KILLED, STRAIGHT)
    assert {name for group, name in found if name.startswith("file ")} == {
        "file runjob/other.py",
        "file runjob/new.py",
    }
    assert found["code", "file runjob/new.py"]["a"] is None


def test_a_value_of_another_type_and_a_missing_one_are_differences():
    of = lambda **values: {"job": {name: Fact(value=value, origin="default") for name, value in values.items()}}  # noqa: E731
    found = find_differences(of(a=1, b=None, c="x"), of(a=True, c="x", d=[]))
    assert [one.name for one in found] == ["a", "b", "d"]
    assert (found[1].b, found[2].a) == (None, None)


values = st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 2) | st.booleans() | st.none())


@given(values, values)
def test_a_diff_is_empty_only_of_equals_and_mirrors(one, two):
    a, b = ({"job": {name: Fact(value=value, origin="") for name, value in some.items()}} for some in (one, two))
    there, back = find_differences(a, b), find_differences(b, a)
    assert {(d.name, d.a, d.b) for d in there} == {(d.name, d.b, d.a) for d in back}
    strict = lambda some: {name: (type(value), value) for name, value in some.items()}  # noqa: E731
    assert (not there) == (strict(one) == strict(two))


def test_a_plan_can_say_what_differs_from_a_run_and_what_a_resume_would_say_to_it(answer, differences):
    sets = [word for one in SAME_AS_KILLED for word in ("--set", one)]
    same = answer("plan", JOB, *sets, "--diff", KILLED)
    assert same == f"the file differs from {KILLED} in nothing\n"
    found = differences("plan", JOB, *sets, "--set", "seed=7", "--set", "training.micro_batch=4", "--diff", KILLED)
    judged = {name: one["on_resume"] and one["on_resume"]["verdict"] for (_, name), one in found.items()}
    assert judged == {
        "seed": "refused",
        "training.micro_batch": "exact",
        "train_micro_batch_size_per_gpu": None,
        "gradient_accumulation_steps": None,
    }
    shown = answer("plan", JOB, "--diff", KILLED)
    assert "deepspeed.json" not in shown
    assert "training.log_every" in shown and "free  it only says what is written down" in shown


def test_runs_are_compared_by_name_with_the_best_marked(answer, runs):
    lines = answer("compare", "gpt2_dutch_tiny").splitlines()
    assert [" ".join(line.split()) for line in lines] == [
        "ID STATE STEP TOKENS learning_rate loss best at step TOKENS/S TIME",
        f"{KILLED} finished 60/60 30,720 0.006 6.5674 6.5674 60 8,041 * 17 s",
        f"{STRAIGHT} finished 60/60 30,720 0.002 6.3931 * 6.3931 * 60 7,516 15 s",
    ]


def test_compare_takes_metrics_and_leaves_a_dash_where_there_is_none(answer, runs):
    edit_events(
        runs / STRAIGHT,
        lambda record: record.update(f1=record["step"] / 100, rare_tokens=7) if record["event"] == "eval" else None,
    )
    table = answer("compare", KILLED, STRAIGHT, "--metric", "f1", "--metric", "rare_tokens")
    killed, straight = (line.split() for line in table.splitlines()[1:])
    assert killed[5:11] == ["-"] * 6
    assert straight[5:10] == ["0.6000", "*", "0.6000", "*", "60"]
    # nobody knows which way a count is better, so none is the best
    assert straight[10:13] == ["7.0000", "-", "-"]


def test_the_best_of_a_metric_that_should_rise_is_the_highest_after_the_start(answer, runs):
    heights = {0: 0.9, 10: 0.2, 20: 0.6, 30: 0.5, 40: 0.5, 50: 0.5, 60: 0.5}
    edit_events(
        runs / STRAIGHT,
        lambda record: record.update(accuracy=heights[record["step"]]) if record["event"] == "eval" else None,
    )
    (row,) = json.loads(answer("compare", STRAIGHT, "--metric", "accuracy", "--json"))
    assert row["metrics"]["accuracy"] == {"last": 0.5, "best": 0.6, "best_step": 20}


def test_a_metric_that_no_run_measured_is_refused_with_those_that_there_are(answer, runs):
    said = answer("compare", KILLED, "--metric", "perplexty", expect=2)
    assert "measured is loss, perplexity, bits_per_byte; did you mean `perplexity`?" in said


def test_runs_on_other_data_are_shown_and_none_is_called_better(answer, runs):
    edit_events(
        runs / STRAIGHT, lambda record: record["hashes"].update(data="1" * 64) if record["event"] == "start" else None
    )
    lines = answer("compare", "gpt2_dutch_tiny").splitlines()
    assert lines[-1] == "their data differ, and with them what they were measured on: the metrics don't compare"
    assert "6.3931 *" not in lines[2]


def test_the_name_is_nothing_that_varies_since_it_stands_in_the_id(answer, runs):
    edit_json(runs / STRAIGHT / "job.json", lambda value: value["job"].update(name="sweep_2"))
    head, *_ = answer("compare", KILLED, STRAIGHT).splitlines()
    assert head.split()[4:6] == ["learning_rate", "loss"]


def test_a_field_that_many_sections_have_is_shown_with_its_section(answer, runs):
    edit_json(runs / STRAIGHT / "job.json", lambda value: value["job"]["training"]["checkpoint"].update(every="never"))
    head, *_ = answer("compare", KILLED, STRAIGHT).splitlines()
    assert head.split()[4:6] == ["learning_rate", "checkpoint.every"]


def test_runs_that_are_older_than_the_count_of_tokens_are_compared_and_reported_without_it(answer, runs, tmp_path):
    edit_events(runs / STRAIGHT, lambda record: record.pop("tokens", None))
    killed, straight = (line.split() for line in answer("compare", KILLED, STRAIGHT).splitlines()[1:])
    assert (killed[3], straight[3]) == ("30,720", "-")
    edit_events(runs / KILLED, lambda record: record.pop("tokens", None) if record["step"] < 60 else None)
    assert [row["tokens"] for row in json.loads(answer("compare", KILLED, STRAIGHT, "--json"))] == [30720, None]
    answer("report", KILLED, STRAIGHT, "-o", tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    drawn = json.loads(page.partition('id="report-data">')[2].partition("</script>")[0])
    ours, theirs = drawn["curves"][0]["points"]
    # half a count is drawn as far as it goes: in a line from nothing to the only step that has one
    assert (ours["tokens"][29], ours["tokens"][59]) == (15360, 30720)
    assert set(theirs["tokens"]) == {None}


def test_a_run_that_has_not_begun_is_a_row_like_any_other(answer, runs):
    fresh = runs / "gpt2_dutch_tiny-00000000"
    shutil.copytree(runs / STRAIGHT, fresh)
    (fresh / "events.jsonl").unlink()
    (fresh / "progress.json").unlink()
    rows = {row["id"]: row for row in json.loads(answer("compare", "gpt2_dutch_tiny", "--json"))}
    assert rows[fresh.name]["metrics"]["loss"] == {"last": None, "best": None, "best_step": None}
    assert (rows[fresh.name]["step"], rows[fresh.name]["tokens_per_s"], rows[fresh.name]["seconds"]) == (0, None, 0)
    # STATE of a status file that says finished, and dashes
    assert answer("compare", fresh.name).splitlines()[1].split()[4:] == ["-", "-", "-", "-", "0", "s"]


def test_an_unknown_run_and_a_damaged_one_are_named(answer, runs):
    assert "no such job" in answer("compare", "nobody", expect=1)
    (runs / KILLED / "events.jsonl").write_text('{"event": "train", "step": 1, "attempt": 1}\n')
    assert f"{runs / KILLED / 'events.jsonl'}: holds something else than records" in answer(
        "diff", KILLED, STRAIGHT, expect=1
    )


@given(st.lists(st.dictionaries(st.sampled_from("abc"), st.integers(0, 1)), min_size=1, max_size=4))
def test_what_varies_is_what_is_not_equal_in_all(jobs):
    assert set(varying_paths(jobs)) == {path for path in "abc" if len({job.get(path, "absent") for job in jobs}) > 1}


def test_time_is_what_was_worked_lost_steps_included_and_pauses_not(runs):
    history = read_history(RunDir(runs / KILLED))
    first, second, third = history.stretches
    assert (first.first_step, first.last_step, first.taken_back) == (0, 25, 0)
    assert (second.first_step, second.last_step, second.taken_back) == (25, 50, 10)
    assert (third.first_step, third.last_step, third.taken_back) == (40, 60, 0)
    assert history.seconds == pytest.approx(first.seconds + second.seconds + third.seconds)
    working = [history.working_seconds(record) for record in history.train]
    assert working == sorted(working) and working[-1] <= history.seconds
    assert len({record["step"] for record in history.train}) == len(history.train) == 60


@given(st.text())
def test_what_a_job_says_steers_no_terminal(text):
    assert all(character.isprintable() for character in legible(text))


def test_the_documents_show_what_is_printed(answer, monkeypatch):
    """docs/report.md, whose runs are these."""
    monkeypatch.chdir(ROOT)
    shown = (ROOT / "docs" / "report.md").read_text(encoding="utf-8")
    for words in (
        ("compare", "gpt2_dutch_tiny"),
        ("diff", KILLED, STRAIGHT),
        ("plan", "jobs/tiny/gpt2_dutch.yaml", "--diff", KILLED),
    ):
        assert f"```text\n{answer(*words)}```" in shown
