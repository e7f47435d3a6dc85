"""Spaces, quotes, semicolons, line breaks and $(...) in everything that a user may choose: it is either refused with a
message, or it arrives as it was written, and no shell has read it."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runjob.runner.compile import compile_job
from runjob.schemas.machine import Machine
from runjob.schemas.read import JobFileError, read_job
from runjob.schemas.schema import follow, types_of
from runjob.schemas.site import BLOCKS, block_schema

CASE = Path(__file__).parent.parent / "cases" / "valid" / "smallest.yaml"
MACHINE = Machine(cores=2, gpus=(), processor="Some CPU")
HOSTILE = "a b'c\"d;touch pwned;$(touch pwned)`touch pwned`\n|&<>*?{run}~\\"
PIECES = ["'", '"', ";", "$(touch pwned)", "`touch pwned`", "\n", "\r", " ", "&&", "|", "{run}", "\\", "a", "-", "/"]
hostile_text = st.lists(st.sampled_from(PIECES), min_size=1, max_size=8).map("".join)


def in_quotes(text: str) -> str:
    """As one types it after --set: YAML in double quotes holds every character."""
    return json.dumps(text)


def names_of_places() -> list[str]:
    """Every text that a block takes and that is no file of this machine."""
    fields = [
        (f"hardware.{block}.{name}", field)
        for block in BLOCKS
        for name, field in block_schema(block)["properties"].items()
    ]
    plain = [(path, field) for path, field in fields if "enum" not in field and field.get("format") != "path"]
    return [path for path, field in plain if "string" in types_of(follow(field))]


NEEDED = {
    "slurm": [],
    "ssh": ["hardware.ssh.host=gpu0"],
    "aws": ["hardware.aws.instance=g5.xlarge", "hardware.aws.max_hours=1"],
}


@pytest.mark.parametrize("path", names_of_places())
@given(text=hostile_text)
@settings(max_examples=25, deadline=None)
def test_no_name_for_a_scheduler_or_a_host_holds_a_line_break(path: str, text: str):
    block = path.split(".")[1]
    try:
        job = read_job(CASE, [*NEEDED[block], f"{path}={in_quotes(text)}"])
    except JobFileError as error:
        assert "\n" not in str(error.problems[0])
        return
    value = job.values["hardware"][block][path.split(".")[2]]
    for one in value if isinstance(value, list) else [value]:
        assert not set(one) & set("\n\r\0"), repr(one)


@pytest.mark.parametrize(
    "host", ["-oProxyCommand=touch pwned", "--", "-F/tmp/x", "a b", "a;b", "$(touch pwned)", "a\nb"]
)
def test_a_host_is_a_host_and_no_option_of_ssh(host: str):
    with pytest.raises(JobFileError, match=r"hardware\.ssh\.host"):
        read_job(CASE, [f"hardware.ssh.host={in_quotes(host)}"])


@given(text=hostile_text)
@settings(max_examples=25, deadline=None)
def test_what_a_job_says_is_in_no_command_of_the_plan(text: str):
    sets = [f"output.description={in_quotes(text)}", f"evaluation.prompts=[{in_quotes(text)}]"]
    sets += [f"data.path={in_quotes('/corpora/' + text)}"]
    changed, plain = compile_job(read_job(CASE, sets).job, MACHINE), compile_job(read_job(CASE).job, MACHINE)
    assert changed.stages == plain.stages
    assert read_job(CASE, sets).values["output"]["description"] == text


def test_a_directory_named_like_a_placeholder_is_filled_in_once():
    (stage,) = [one for one in compile_job(read_job(CASE).job, MACHINE).stages if one.name == "prepare"]
    assert stage.located(run="/a {python} b", python="/p").argv[-1] == "/a {python} b"


@pytest.mark.parametrize("launcher", ["small", "small-nextdoor"])
def test_hostile_folders_and_texts_run_on_every_launcher(runjob, env, job, processes, tmp_path: Path, launcher):
    odd = tmp_path / HOSTILE.replace("/", "")
    odd.mkdir()
    corpus = odd / "text'; touch pwned; '.txt"
    corpus.write_text("een twee drie\n")
    place = odd / "there"
    place.mkdir()
    own = {**env, "SMALL": "exact", "RUNJOB_HOME": str(odd / "runs"), "NEXTDOOR": str(place)}
    texts = {"data.path": str(corpus), "output.description": HOSTILE}
    sets = [word for path, text in texts.items() for word in ("--set", f"{path}={in_quotes(text)}")]
    prompts = ("--set", f"evaluation.prompts=[{in_quotes(HOSTILE)}]")
    done = runjob(job, "--launcher", launcher, *sets, *prompts, env=own, timeout_s=60)
    assert done.returncode == 0, done.stderr
    (run,) = (odd / "runs").iterdir()
    written = json.loads((run / "job.json").read_text())["job"]
    assert (written["data"]["path"], written["output"]["description"]) == (str(corpus), HOSTILE)
    for command in (("ps",), ("status", "latest"), ("logs", "latest"), ("why", "latest"), ("cancel", "latest")):
        assert runjob(*command, env=own).returncode == 0
    assert runjob("status", HOSTILE, env=own).returncode == 1
    assert list(tmp_path.rglob("pwned")) == []


def test_a_name_with_a_shell_in_it_is_no_name(runjob, job):
    for name in (HOSTILE, "a b", "a;b", "$(touch pwned)", "-rf", "a\n"):
        done = runjob(job, "--set", f"name={in_quotes(name)}")
        assert (done.returncode, "expected a lower-case letter" in done.stderr) == (2, True), (name, done.stderr)
    assert not (job.parent / "pwned").exists()
