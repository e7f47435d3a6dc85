"""`runjob why` names the class of a failure by what real runs left behind (tests/record_ended.py made it)."""

import json
import shutil
import socket
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runjob.launchers.base import Handle
from runjob.launchers.slurm import keep_last_words
from runjob.launchers.slurm_queue import SlurmJob
from runjob.runner.runs import state_of
from runjob.runner.why.answer import Answer, answer, as_json, as_text
from runjob.runner.why.classes import MEANINGS
from runjob.schemas.causes import causes_of
from runjob.schemas.errors import DataError
from runjob.schemas.read import override_job, read_job_json, write_job_json
from runjob.schemas.run import Exit, RunDir, Status, read_json, write_json

CASES = Path(__file__).parent.parent / "cases" / "ended"

# What really happened; of each its class, where the first evidence stands, and the setting that is offered.
ENDED = {
    "memory_refused": ("memory", "exit.json, causes", "training.micro_batch"),
    "memory_killed": ("memory", "ended.json, oom_kills", "training.micro_batch"),
    "numerics": ("numerics", "exit.json, causes", "training.learning_rate"),
    "data_not_utf8": ("data", "exit.json, causes", "data.path"),
    "data_changed": ("data", "exit.json, causes", "data.path"),
    "configuration_missing": ("configuration", "exit.json, causes", "data.path"),
    "configuration_too_small": ("configuration", "exit.json, causes", "data.tokenizer.vocab_size"),
    "checkpoint_damaged": ("checkpoint", "exit.json, causes", ""),
    "disk_full_preparing": ("disk", "exit.json, causes", ""),
    "disk_full_saving": ("disk", "exit.json, causes", "training.checkpoint.keep"),
    "disk_limit_of_a_file": ("disk", "exit.json, causes", "training.checkpoint.keep"),
    "network_refused": ("network", "exit.json, causes", "data.path"),
    "import_in_a_rank": ("import", "exit.json, causes", ""),
    "import_before": ("import", "prepare.log, last line", ""),
    "program_missing": ("import", "ended.json, stages", ""),
    "killed_rank": ("killed", "ended.json, ranks", ""),
    "killed_torchrun": ("killed", "ended.json, stages", ""),
    "killed_preparing": ("killed", "ended.json, stages", ""),
    "crashed_rank": ("crashed", "ended.json, ranks", ""),
    "preempted": ("preempted", "stop.json", ""),
    "cancelled": ("cancelled", "status.json", ""),
    "paused": ("paused", "events.jsonl, preempt", ""),
    "processor_time": ("time limit", "ended.json", ""),
    "unknown_bug": ("unknown", "", ""),
}


@pytest.fixture
def ended(tmp_path: Path):
    def find(name: str) -> RunDir:
        run = RunDir(tmp_path / "small-0123abcd")
        shutil.copytree(CASES / name, run.path)
        return run

    return find


def asked(run: RunDir) -> Answer:
    return answer(run, state_of(run))


def test_every_recorded_end_is_judged_and_every_judged_end_is_recorded():
    assert {path.name for path in CASES.iterdir()} == set(ENDED)
    assert len(ENDED) >= 20


@pytest.mark.parametrize("name", ENDED)
def test_the_class_of_a_recorded_end(ended, name: str):
    kind, source, path = ENDED[name]
    run = ended(name)
    found = asked(run)
    assert found.finding is not None
    assert found.finding.kind == kind, as_text(found)
    assert not source or any(source in one.source for one in found.finding.evidence)
    told = as_json(found)
    assert told["class"] == kind
    assert leaf(yaml.safe_load(told["change"])) == path
    assert told["command"].startswith(f"runjob resume {run.id}")
    first, *_ = as_text(found).splitlines()
    assert first == f"{run.id}: {kind}, at step {found.step}, attempt {read_json(run.status)['attempt']}"


def leaf(value: object) -> str:
    """`a.b` of {"a": {"b": ...}}."""
    if not isinstance(value, dict):
        return ""
    ((key, inner),) = value.items()
    return f"{key}.{rest}" if (rest := leaf(inner)) else key


def test_a_set_of_words_means_the_same_in_code_and_document():
    text = (CASES.parents[2] / "docs" / "why.md").read_text(encoding="utf-8")
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| `")]
    assert {row[0].strip("`"): row[1] for row in rows} == MEANINGS


WORDS = st.one_of(
    st.text(max_size=200),
    st.sampled_from(
        (
            "CUDA out of memory. Tried to allocate 2.00 GiB",
            "OSError: [Errno 28] No space left on device",
            "ModuleNotFoundError: No module named 'deepspeed'",
            "Connection refused by peer\nslurmstepd: error: DUE TO TIME LIMIT",
            "Traceback (most recent call last):\nValueError: loss is NaN",
            "rank      : 1 (local_rank: 1)\n  exitcode  : -9 (pid: 30864)",
        )
    ),
)


@pytest.mark.filterwarnings("ignore::hypothesis.errors.HypothesisWarning")
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(reason=WORDS, error=WORDS, message=WORDS, log=WORDS, state=st.sampled_from(("failed", "lost", "preempted")))
def test_words_without_evidence_never_make_a_class(tmp_path_factory, reason, error, message, log, state):
    run = RunDir(tmp_path_factory.mktemp("run") / "small-0123abcd")
    shutil.copytree(CASES / "unknown_bug", run.path)
    attempt = run.attempt(1)
    told = read_json(attempt.exit)
    attempt.write_exit(Exit(outcome="failed", code=1, step=1, reason="ValueError", error=f"{reason}{error}"))
    write_json(attempt.exit, {**read_json(attempt.exit), "causes": told["causes"]})
    attempt.rank_log(0).write_text(log, encoding="utf-8", errors="replace")
    found = answer(run, Status(state=state, attempt=1, updated=0.0, message=message))
    assert found.finding is not None
    assert found.finding.kind == {"failed": "unknown", "lost": "lost", "preempted": "preempted"}[state]
    json.dumps(as_json(found))
    assert as_text(found).startswith(found.head)


@pytest.mark.parametrize("name", ["exit.json", "ended.json", "place.json", "rank-1.json", "stop.json"])
@pytest.mark.parametrize("content", ["", "{half", "[]", "{}", '{"causes": 7}', '{"stages": [1]}', "null"])
def test_a_damaged_record_is_named_and_stops_nothing(ended, name: str, content: str):
    run = ended("killed_rank")
    (run.attempt(1).path / name).write_text(content)
    found = asked(run)
    assert found.finding is not None
    assert found.finding.kind == ("unknown" if name == "ended.json" else "killed"), as_text(found)
    assert (f"1/{name}: " in as_text(found)) == (name != "stop.json")


def test_the_last_line_counts_only_where_it_ends_a_traceback(ended):
    run = ended("import_before")
    log = run.attempt(1).stage_log("prepare")
    whole = log.read_text()
    log.write_text(f"{whole}tokenising 40 %\n")
    assert asked(run).finding.kind == "unknown"
    log.write_text(whole.splitlines()[-1])
    assert asked(run).finding.kind == "unknown"


def test_torch_is_not_asked_and_an_answer_takes_no_time(ended, runjob, home):
    run = ended("killed_rank")
    shutil.copytree(run.path, home.runs / run.id)
    done = runjob("why", run.id, "--json")
    assert json.loads(done.stdout)["class"] == "killed"
    assert (done.returncode, done.stderr) == (0, "")
    assert "is failed" in runjob("why", run.id).stdout.splitlines()[1]
    assert "class        killed" in runjob("status", run.id).stdout


LOCAL = ("--launcher", "small")


def test_a_stage_that_is_killed_now_is_killed(small, job):
    assert small("kill-me", job, *LOCAL).returncode == 1
    told = json.loads(small("", "why", "latest", "--json").stdout)
    assert told["class"] == "killed"
    said = "stage train was ended by signal 9 (SIGKILL)"
    assert told["evidence"] == [{"source": "attempts/1/ended.json, stages", "says": said}]


def test_words_alone_of_a_stage_make_no_class_now(small, job):
    """It says that its loss is NaN, by no error of ours; and one that only ends with a code says nothing."""
    small("fail", job, *LOCAL)
    assert json.loads(small("", "why", "latest", "--json").stdout)["class"] == "unknown"
    small("crash", job, *LOCAL)
    assert json.loads(small("", "why", "small@latest", "--json").stdout)["class"] == "unknown"


@pytest.mark.parametrize(
    ("state", "kind", "change"),
    [
        ("TIMEOUT", "time limit", "hardware.slurm.signal_before"),
        ("OUT_OF_MEMORY", "memory", "hardware.slurm.memory"),
        ("NODE_FAIL", "lost", ""),
        ("FAILED", "unknown", ""),
    ],
)
def test_slurms_own_word_comes_first(ended, state: str, kind: str, change: str):
    run = ended("unknown_bug")
    write_job_json(run.job, override_job(read_job_json(run.job), ["hardware.slurm={memory: 16GiB}"]))
    handle = Handle(launcher="slurm", attempt=1, facts={"job": "7", "run": str(run.path)})
    keep_last_words(run, run, handle, 1, "7", SlurmJob(id="7", state=state, reason="None", nodes=""))
    found = asked(run)
    assert found.finding is not None and found.finding.kind == kind
    assert leaf(yaml.safe_load(as_json(found)["change"])) == change


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("NumericsError", "numerics"),
        ("HungError", "hung"),
        ("MemoryShortError", "memory"),
        ("OutOfMemoryError", "memory"),
        ("ModuleNotFoundError", "import"),
        ("ConnectionRefusedError", "unknown"),
        ("RuntimeError", "unknown"),
    ],
)
def test_a_run_of_before_there_were_causes_is_judged_by_the_name_of_its_error(ended, reason: str, kind: str):
    run = ended("unknown_bug")
    write_json(run.attempt(1).exit, {"outcome": "failed", "code": 1, "step": 3, "reason": reason, "error": "no room"})
    found = asked(run)
    assert found.finding is not None and found.finding.kind == kind


def test_another_ranks_words_explain_a_connection_that_broke_for_rank_0(ended):
    """Rank 1 runs into what it names; rank 0 notices that rank 1 has gone."""
    run = ended("killed_rank")
    run.attempt(1).ended.unlink()
    refused = socket.socket()
    with pytest.raises(ConnectionRefusedError) as broken:
        refused.connect(("127.0.0.1", 9))
    refused.close()
    told = run.attempt(1).read_exit()
    assert told is not None
    run.attempt(1).write_exit(replace(told, causes=causes_of(broken.value)))
    assert asked(run).finding.kind == "network"
    with pytest.raises(MemoryError) as short:
        bytearray(2**50)
    run.attempt(1).write_exit(replace(told, reason="MemoryError", causes=causes_of(short.value)), rank=1)
    found = asked(run).finding
    assert (found.kind, found.evidence[0].source) == ("memory", "attempts/1/rank-1.json, causes")


@pytest.mark.parametrize(("code", "kind"), [(-9, "killed"), (-11, "crashed"), (1, "unknown")])
def test_the_reader_of_a_stream_that_ends_is_no_error_of_the_data(ended, code: int, kind: str):
    run = ended("unknown_bug")
    told = run.attempt(1).read_exit()
    run.attempt(1).write_exit(replace(told, reason="DataError", causes=causes_of(DataError("the reader ended"))))
    run.stream.mkdir()
    write_json(run.stream_failure, {"error": "the reader ended", "broken_off": False, "causes": [], "code": code})
    found = asked(run).finding
    assert (found.kind, found.evidence[0].source.partition(",")[0]) == (kind, "stream/failure.json")
