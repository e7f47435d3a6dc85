"""`runjob init`: whatever is asked for, the file that it writes is valid, explains itself, and replaces nothing."""

import itertools
import json
import os
import pty
import re
import select
import subprocess
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runjob.runner.commented import commented, flow_text
from runjob.runner.new_job import Wishes, compose_values, job_text
from runjob.runner.recipes import OBJECTIVES, RECIPES, SIZES, find_recipe
from runjob.runner.shipped import find_job
from runjob.schemas.errors import JobError
from runjob.schemas.read import read_job
from runjob.schemas.schema import BUNDLE, bundle_text, bundled_schema, variants
from tests.conftest import SCRIPT


@st.composite
def wishes(draw) -> Wishes:
    recipe = draw(st.sampled_from(RECIPES))
    return Wishes(
        recipe=recipe,
        size=draw(st.sampled_from(SIZES)),
        objective=draw(st.sampled_from([None, *recipe.objectives])),
        data=draw(st.sampled_from([None, "a b.txt", "x/*.jsonl.gz", "p.parquet", "hub:org/set", "sample:english"])),
        from_model=draw(st.sampled_from([None, "org/model", "./model"])),
        device=draw(st.sampled_from(["cpu", "cuda", "mps"])),
        launcher=draw(st.sampled_from(["local", "ssh", "slurm", "aws"])),
    )


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(wished=wishes())
def test_whatever_is_wished_for_is_a_valid_job_whose_every_value_is_explained(tmp_path: Path, wished: Wishes):
    file = tmp_path / "mine.yaml"
    text = job_text(wished, file)
    file.write_text(text, encoding="utf-8")
    job = read_job(file).job
    assert (job.name, job.hardware.device) == ("mine", wished.device)
    assert job.objective.kind == (wished.objective or wished.recipe.objectives[0])
    lines = text.splitlines()
    assert max(map(len, lines)) <= 120
    for above, line in itertools.pairwise(lines):
        if re.match(r" *[a-z_]+:", line) and not re.match(r" +[a-z_]+: sample:paleo_", line):
            assert above.lstrip().startswith("# "), f"nothing is said of {line!r}"


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
@pytest.mark.parametrize("size", SIZES)
def test_a_recipe_is_the_shipped_job_where_nothing_else_is_wished_for(recipe, size, tmp_path: Path):
    shipped = read_job(find_job(recipe.job(size)))
    plain = Wishes(
        recipe=recipe,
        size=size,
        objective=None,
        data=None,
        from_model=None,
        device=shipped.job.hardware.device,
        launcher="local",
    )
    file = tmp_path / "mine.yaml"
    file.write_text(job_text(plain, file), encoding="utf-8")
    mine = read_job(file).job
    assert (mine.model, mine.objective, mine.seed) == (
        shipped.job.model,
        shipped.job.objective,
        shipped.job.seed,
    )
    assert mine.training.learning_rate == shipped.job.training.learning_rate
    assert mine.training.global_batch == shipped.job.training.global_batch
    if size == "small":
        assert mine.data == shipped.job.data


# what stands in a file of UTF-8, and in JSON
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
TEXT = st.text(st.characters(exclude_categories=["Cs"]))


@given(
    st.recursive(
        st.one_of(st.none(), st.booleans(), st.integers(-(10**9), 10**9), NUMBERS, TEXT),
        lambda inner: st.lists(inner, max_size=3),
        max_leaves=5,
    )
)
@settings(max_examples=60, deadline=None)
def test_a_value_on_one_line_is_read_again_as_the_same(value):
    from runjob.runner.new_job import plain_value
    from runjob.schemas.yaml import compose_bytes

    node = compose_bytes(f"a: {flow_text(value)}\n".encode(), "x.yaml").node
    assert plain_value(node) == {"a": value}


COMMENTED = """\
# What the network learns to predict.
objective:
  # Masked language modelling: hidden tokens from all around them. Others: clm, char_ar, plm,
  # token_classification, relation_classification, sequence_classification, sentence_embedding.
  kind: mlm
  # What stands in the place of a predicted token; the three shares add up to 1.
  replace:
    # Share that becomes the mask token. (default 0.8)
    mask: 0.9
"""


def test_a_comment_is_the_schemas_word_with_what_else_may_stand_there():
    assert commented({"objective": {"kind": "mlm", "replace": {"mask": 0.9}}}, bundled_schema()) == COMMENTED
    unit = commented({"objective": {"kind": "mlm", "unit": "word"}}, bundled_schema()).splitlines()[-2]
    assert unit.endswith("(token or word or char; default token)")


def test_each_objective_of_a_recipe_is_one_and_finds_it():
    assert set(OBJECTIVES) <= set(variants(bundled_schema()["$defs"]["objective"]))
    assert all(objective in find_recipe(None, objective).objectives for objective in OBJECTIVES)


def test_a_file_is_named_from_the_jobs_folder_and_a_name_on_the_hub_as_it_is(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "jobs").mkdir()
    (tmp_path / "model").mkdir()
    (tmp_path / "text.txt").write_text("een\n")
    base = {"recipe": RECIPES[0], "size": "small", "objective": None, "device": "cpu", "launcher": "local"}
    values = compose_values(Wishes(**base, data="text.txt", from_model="model"), Path("jobs/mine.yaml"))
    assert (values["data"]["path"], values["model"]["init"]["path"]) == ("../text.txt", "../model")
    assert values["data"]["tokenizer"] == values["model"]["init"] == {"kind": "pretrained", "path": "../model"}
    assert values["training"]["learning_rate"] == 5e-5
    values = compose_values(Wishes(**base, data="text.txt", from_model="model"), Path("mine.yaml"))
    assert (values["data"]["path"], values["model"]["init"]["path"]) == ("text.txt", "./model")
    values = compose_values(Wishes(**base, data="hub:org/set", from_model="org/model"), Path("jobs/mine.yaml"))
    assert (values["data"]["path"], values["model"]["init"]["path"]) == ("org/set", "org/model")


def test_it_writes_the_job_with_the_schema_beside_it_and_never_twice(runjob, home):
    (home.path / "text.txt").write_text("een twee drie\n")
    done = runjob("init", "--objective", "clm", "--data", "text.txt", "-o", "mine.yaml")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "wrote mine.yaml: a GPT-2 that writes text (gpt2, small), on cpu",
        f"wrote {BUNDLE}: by it an editor completes and checks mine.yaml",
        "next: runjob plan mine.yaml, then runjob mine.yaml",
    ]
    written = (home.path / "mine.yaml").read_text(encoding="utf-8")
    assert written.splitlines()[0] == f"# yaml-language-server: $schema={BUNDLE}"
    assert (home.path / BUNDLE).read_text(encoding="utf-8") == bundle_text()
    assert "sample" not in read_job(home.path / "mine.yaml").job.data.path[0]
    again = runjob("init", "--objective", "plm", "-o", "mine.yaml")
    assert (again.returncode, again.stdout) == (2, "")
    assert "mine.yaml: is there already and stays as it is" in again.stderr
    assert (home.path / "mine.yaml").read_text(encoding="utf-8") == written


def test_a_repository_of_jobs_keeps_its_one_copy_of_the_schema(runjob, home):
    for folder in ("schemas", "jobs"):
        (home.path / folder).mkdir()
    (home.path / "schemas" / BUNDLE).write_text("{}")
    done = runjob("init", "--recipe", "canine", "-o", "jobs/mine.yaml")
    assert done.returncode == 0, done.stderr
    shown = f"schemas/{BUNDLE}"
    assert f"{shown} is another runjob's: `runjob schema > {shown}` makes it this one's" in done.stdout
    written = (home.path / "jobs" / "mine.yaml").read_text(encoding="utf-8")
    assert written.startswith(f"# yaml-language-server: $schema=../{shown}\n")
    assert (home.path / "schemas" / BUNDLE).read_text() == "{}"
    assert [path.name for path in (home.path / "jobs").iterdir()] == ["mine.yaml"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "init: say what to train: --recipe gpt2|deberta|modernbert|canine|mpnet, or --objective"),
        (["--recipe", "gtp2"], "did you mean `gpt2`?"),
        (["--recipe", "gpt2", "--objective", "plm"], "it learns clm; of plm there is: mpnet"),
        (["--objective", "nsp"], "no recipe has it; there are: clm, mlm, char_ar, plm"),
        (["--recipe", "gpt2", "--data", "sample:nl"], "no such sample, there are: domains, domains_labelled, dutch"),
        (["--recipe", "gpt2", "-o", "none/mine.yaml"], "no such directory: none; `mkdir -p none` makes it"),
        (["--recipe", "gpt2", "--data", "hub:"], "data.path"),
        (["--recipe", "gpt2", "--from-model", ""], "init: an empty path; leave the option out"),
    ],
)
def test_a_wish_that_cannot_be_is_said_and_leaves_nothing(runjob, home, words: list[str], said: str):
    done = runjob("init", *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert list(home.path.iterdir()) == []


def test_what_only_its_author_knows_is_named(runjob):
    done = runjob("init", "--recipe", "gpt2", "--launcher", "ssh", "--data", "far.txt", "-o", "mine.yaml")
    assert "yours to say   hardware.ssh.host: gpu-box is an example" in done.stdout
    assert "far.txt: no such file" in done.stdout
    assert done.stdout.splitlines()[-1] == (
        "next: runjob plan mine.yaml --launcher ssh, then runjob mine.yaml --launcher ssh"
    )


def at_terminal(home, *words: str, answers: list[tuple[str, str]]) -> tuple[int, str]:
    """Type each answer once its question stands there; how it ended and everything that stood on the screen."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [SCRIPT, *words], env={**home.env, "TERM": "dumb"}, cwd=home.path, stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    seen, shown, deadline = "", "", time.monotonic() + 60
    try:
        while time.monotonic() < deadline and select.select([ours], [], [], 60)[0]:
            piece = os.read(ours, 4096).decode()
            seen, shown = seen + piece, shown + piece
            if answers and answers[0][0] in seen:
                os.write(ours, f"{answers.pop(0)[1]}\n".encode())
                seen = ""
    except OSError:  # Linux says so when the other side is closed
        pass
    finally:
        os.close(ours)  # which ends it too, where it still waits for an answer
    code = process.wait(timeout=10)
    assert answers == [], shown
    return code, shown


def test_at_a_terminal_it_asks_for_what_no_option_said(home):
    (home.path / "text.jsonl").write_text('{"text": "een"}\n')
    (home.path / "old.yaml").write_text("mine")
    answers = [
        ("What shall it be?", "bert"),  # no such recipe: asked again
        ("What shall it be?", "canine"),
        ("Data", "text.jsonl"),
        ("First weights", ""),
        ("What computes?", "cpu"),
        ("Where does it run?", "slurm"),
        ("Job file", "old.yaml"),
        ("old.yaml is there already", "new.yaml"),
    ]
    code, shown = at_terminal(home, "init", "--size", "small", answers=answers)
    assert code == 0, shown
    assert "Size" not in shown
    job = read_job(home.path / "new.yaml").job
    assert (job.objective.kind, job.data.kind, job.hardware.device) == ("mlm", "jsonl", "cpu")
    assert job.hardware.slurm is not None
    assert (home.path / "old.yaml").read_text() == "mine"


def test_answers_that_end_too_early_leave_nothing(home):
    code, shown = at_terminal(home, "init", answers=[("What shall it be?", "\x04")])
    assert (code, "init: the input ended; nothing was written" in shown) == (2, True), shown
    assert list(home.path.iterdir()) == []


def test_a_wish_is_refused_before_its_file_is_there(tmp_path: Path):
    with pytest.raises(JobError, match="no such sample"):
        job_text(
            Wishes(
                recipe=RECIPES[0],
                size="small",
                objective=None,
                data="sample:x",
                from_model=None,
                device="cpu",
                launcher="local",
            ),
            tmp_path / "mine.yaml",
        )


def test_ls_says_what_each_job_needs(runjob):
    rows = json.loads(runjob("ls", "--json").stdout)
    jobs = {row["name"]: row for row in rows if row["kind"] == "job"}
    assert jobs["gpt2_dutch_small"]["needs"] == [
        "GPUs (all)",
        "from the Hub BramVanroy/wikipedia_culturax_dutch, openai-community/gpt2",
    ]
    assert jobs["canine_domains"]["needs"] == ["a GPU", "from the Hub google/canine-c", "data of your own"]
    assert all(not row["needs"] for name, row in jobs.items() if name.startswith("tiny/"))
    assert jobs["tiny/gpt2_dutch"]["minutes"] == 2.0
    recipes = {row["name"]: row for row in rows if row["kind"] == "recipe"}
    assert list(recipes) == [recipe.name for recipe in RECIPES]
    assert recipes["canine"]["objectives"] == ["mlm", "char_ar"]
    shown = runjob("ls", env={"COLUMNS": "80"}).stdout
    assert "about 2 minutes on two cores" in shown
    assert all(f"\n{recipe.name} " in shown for recipe in RECIPES)
