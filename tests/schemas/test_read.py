"""A file with --set becomes one job: typed, with defaults, absolute paths and origins; job.json gives the same back."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from runjob.schemas.build import build_job
from runjob.schemas.errors import JobError, RunjobError
from runjob.schemas.job import LinearSchedule, PolynomialSchedule
from runjob.schemas.job_data import TextData
from runjob.schemas.job_model import PretrainedInit
from runjob.schemas.quantities import parse_quantity
from runjob.schemas.read import (
    JobFileError,
    override_job,
    read_job,
    read_job_json,
    write_job_json,
)

CASES = Path(__file__).parent.parent / "cases" / "valid"
SMALLEST = CASES / "smallest.yaml"


def lines_of(path: Path, *sets: str) -> list[str]:
    with pytest.raises(JobFileError) as caught:
        read_job(path, sets)
    return str(caught.value).split("\n")


@pytest.fixture
def job_file(tmp_path):
    """Writes the smallest job with some of its text replaced."""

    def write(*changes: tuple[str, str]) -> Path:
        text = SMALLEST.read_text(encoding="utf-8")
        for old, new in changes:
            assert text.count(old) == 1
            text = text.replace(old, new)
        path = tmp_path / "job.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_every_written_value_reaches_the_job():
    job = read_job(CASES / "everything.yaml").job
    assert isinstance(job.data, TextData)
    assert (job.data.documents, job.data.sequence_length) == ("paragraph", 64)
    assert (job.data.split.kind, job.data.split.validation) == ("first", 12)
    assert job.training.length == parse_quantity("1.5 epochs")
    assert (job.training.schedule.kind, str(job.training.schedule.decay)) == ("warmup_stable_decay", "0.3")
    assert job.training.optimizer.betas == (0.8, 0.99)
    assert job.training.gradient_clipping is None
    assert job.training.checkpoint.keep == "all"
    assert job.evaluation.prompts == ("no", "De computer: ")
    assert str(job.evaluation.early_stopping.patience) == "2 epochs"
    assert (job.hardware.time, job.hardware.memory, job.hardware.gpus) == ("1-12:30:00", "24GiB", 4)
    assert job.hardware.deepspeed == {"zero_optimization": {"overlap_comm": False}, "wall_clock_breakdown": True}


def test_whole_numbers_of_a_number_field_become_floats():
    job = read_job(CASES / "everything.yaml").job
    assert [type(v) for v in (job.model.init.dropout, job.training.optimizer.weight_decay)] == [float, float]
    assert type(job.training.schedule.final) is float


def test_defaults_are_filled_in_where_the_file_is_silent():
    job = read_job(SMALLEST).job
    assert (job.seed, job.data.layout, job.data.split.validation) == (42, "pack", 0.01)
    assert (job.training.schedule.kind, str(job.training.schedule.warmup), job.training.schedule.final) == (
        "cosine",
        "0.05",
        0.1,
    )
    assert (job.evaluation.best, job.tracking.tensorboard, job.output.license) == ("loss", True, None)


def test_each_value_keeps_its_origin():
    origins = read_job(SMALLEST, ["seed=3"]).origins
    assert origins["training.length"] == f"{SMALLEST}:18:11"
    assert origins["seed"] == "--set"
    assert origins["training.optimizer.betas"] == "default"
    assert origins["hardware.deepspeed"] == "default"


@pytest.mark.parametrize("name", ["smallest", "everything", "pretrained", "hub", "anchors"])
def test_job_json_gives_the_same_job_back(name, tmp_path):
    resolved = read_job(CASES / f"{name}.yaml")
    write_job_json(tmp_path / "job.json", resolved)
    assert read_job_json(tmp_path / "job.json") == resolved
    assert set(json.loads((tmp_path / "job.json").read_text())) == {"job", "origins", "sha256"}


def test_a_job_json_of_another_shape_is_refused_by_name(tmp_path):
    path = tmp_path / "job.json"
    path.write_text('{"job": {"schema": 1}, "origins": {}}')
    with pytest.raises(RunjobError, match=r"job\.json: name is missing and has no default; data is missing"):
        read_job_json(path)


# --- paths ------------------------------------------------------------------------------------------------------


def test_relative_paths_are_relative_to_the_job_file(job_file, tmp_path):
    path = job_file(("path: sample:dutch", "path: [a.txt, ../b.txt, sample:dutch, /abs/c.txt, s3://bucket/d.txt]"))
    expected = (f"{tmp_path}/a.txt", f"{tmp_path.parent}/b.txt", "sample:dutch", "/abs/c.txt", "s3://bucket/d.txt")
    assert read_job(path).job.data.path == expected


def test_paths_on_set_are_relative_to_the_current_directory(job_file, tmp_path, monkeypatch):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert read_job(job_file(), ["data.path=x.txt"]).job.data.path == (f"{elsewhere}/x.txt",)


def test_a_home_directory_is_spelt_out(job_file, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert read_job(job_file(("sample:dutch", "~/x.txt"))).job.data.path == (f"{tmp_path}/x.txt",)


def test_a_name_on_the_hub_stays_a_name_unless_such_a_directory_is_there(job_file, tmp_path):
    change = ("{kind: train, algorithm: bpe, vocab_size: 512}", "{kind: pretrained, path: org/tok}")
    assert read_job(job_file(change)).job.data.tokenizer.path == "org/tok"
    (tmp_path / "org" / "tok").mkdir(parents=True)
    assert read_job(job_file(change)).job.data.tokenizer.path == f"{tmp_path}/org/tok"


@pytest.mark.parametrize("written", ["./tok", "../tok", "/abs/tok"])
def test_a_path_written_as_one_is_a_path_even_where_nothing_is_yet(written, job_file, tmp_path):
    change = ("{kind: train, algorithm: bpe, vocab_size: 512}", f"{{kind: pretrained, path: {written}}}")
    read = read_job(job_file(change)).job.data.tokenizer.path
    assert read == str((tmp_path / written).resolve() if written[0] == "." else Path(written))


# --- --set ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argument", "path", "value"),
    [
        ("training.length=30 steps", "training.length", "30 steps"),
        ("training.learning_rate=1e-3", "training.learning_rate", 0.001),
        ("training.stop_after=null", "training.stop_after", None),
        ("evaluation.prompts=[a,b]", "evaluation.prompts", ["a", "b"]),
        ('evaluation.prompts=["a: b", no]', "evaluation.prompts", ["a: b", "no"]),
        ("output.license=2.0", "output.license", "2.0"),
        ("output.license=no", "output.license", "no"),
        ("output.description=Is: this=fine # yes", "output.description", "Is: this=fine # yes"),
        ("output.description='quoted'", "output.description", "quoted"),
        ("name=123", "name", "123"),
        ("training.checkpoint.keep=all", "training.checkpoint.keep", "all"),
        ("training.checkpoint={every: 7 steps}", "training.checkpoint", {"every": "7 steps", "keep": 3}),
        ("hardware.deepspeed.zero_optimization.overlap_comm=false", "hardware.deepspeed", None),
    ],
)
def test_a_set_value_is_typed_by_the_schema(argument, path, value):
    here = read_job(SMALLEST, [argument]).values
    for key in path.split("."):
        here = here[key]
    assert here == (value if path != "hardware.deepspeed" else {"zero_optimization": {"overlap_comm": False}})


def test_the_last_set_of_a_path_stands():
    assert read_job(SMALLEST, ["seed=1", "seed=2"]).job.seed == 2


def test_set_reaches_into_what_the_file_omits_and_keeps_the_defaults_beside_it():
    job = read_job(SMALLEST, ["training.schedule.final=0.5", "evaluation.generation.top_k=7"]).job
    assert (job.training.schedule.kind, job.training.schedule.final) == ("cosine", 0.5)
    assert (job.evaluation.generation.top_k, job.evaluation.generation.top_p) == (7, 0.95)


def test_set_reaches_into_a_null(job_file):
    path = job_file(("hardware: {device: cpu}", "hardware: {device: cpu}\nevaluation: {early_stopping: null}"))
    sets = ["evaluation.early_stopping.metric=loss", "evaluation.early_stopping.patience=1 epoch"]
    assert read_job(path, sets).job.evaluation.early_stopping.metric == "loss"


def test_setting_a_kind_drops_what_only_the_old_kind_had():
    job = read_job(SMALLEST, ["model.init.kind=pretrained", "model.init.path=gpt2"]).job
    assert job.model.init == PretrainedInit(kind="pretrained", path="gpt2", revision=None, trust_remote_code=False)


def test_setting_a_kind_keeps_what_both_kinds_have(job_file):
    change = ("  learning_rate", "  schedule: {kind: polynomial, warmup: 3 steps, power: 3}\n  learning_rate")
    assert isinstance(read_job(job_file(change)).job.training.schedule, PolynomialSchedule)
    schedule = read_job(job_file(change), ["training.schedule.kind=linear"]).job.training.schedule
    assert schedule == LinearSchedule(kind="linear", warmup=parse_quantity("3 steps"), final=0.1)


def test_set_changes_one_use_of_an_anchor_alone():
    job = read_job(CASES / "anchors.yaml", ["data.sequence_length=64"]).job
    assert (job.data.sequence_length, job.model.init.max_position_embeddings) == (64, 128)


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ("training.lenght=3", "--set training.lenght=3: unknown key; did you mean `length`?"),
        ("trainin.length=3 steps", "--set trainin.length=3 steps: trainin: unknown key; did you mean `training`?"),
        (
            "training.micro_batch=many",
            "--set training.micro_batch=many: expected a whole number, such as `8`, not the text `many`",
        ),
        ("seed", "--set seed: expected PATH=VALUE such as `training.length=30 steps`"),
        ("=3", "--set =3: expected PATH=VALUE such as `training.length=30 steps`"),
        ("data.path.x=3", "--set data.path.x=3: `data.path` holds no keys in the job file, so none can be set in it"),
        ("evaluation.prompts=[a", "--set evaluation.prompts=[a: not YAML: a `[` is not closed, or a comma is missing"),
        (
            "hardware.ranks=3",
            "--set hardware.ranks=3: training.global_batch: 8 is not a multiple of 3 (3 ranks); "
            "the nearest that work are 6 and 9",
        ),
        (
            "training.length=0 steps",
            "--set training.length=0 steps: must be more than 0 steps",
        ),
    ],
)
def test_a_mistake_on_set_is_reported_against_that_argument(argument, said):
    assert lines_of(SMALLEST, argument) == [said]


def test_a_set_that_breaks_one_rule_is_not_blamed_for_another(job_file):
    path = job_file(("  learning_rate", "  log_every: 0 steps\n  learning_rate"))
    assert lines_of(path, "training.length=10 steps") == [
        f"{path}:21:14: training.log_every: must be more than 0 steps; write `never`"
    ]


@pytest.mark.parametrize("path", ["data.sources.1.weight", "data.sources[1].weight"])
def test_set_reaches_into_a_list(path):
    resolved = read_job(CASES / "mix.yaml", [f"{path}=2", "data.sources.0.path=[a.txt, b.txt]"])
    first, second = resolved.job.data.sources
    assert (first.weight, second.weight) == (3.0, 2.0)
    assert first.path == (str(Path.cwd() / "a.txt"), str(Path.cwd() / "b.txt"))
    assert resolved.origins["data.sources"] == "--set"
    assert override_job(resolved, ["data.sources.1.weight=1"]).job.data.sources[1].weight == 1.0


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ("data.sources.0.weight=0", "must be greater than 0, not 0"),
        ("data.sources[0].weight=much", "expected a number, such as `3`, not the text `much`"),
        ("data.sources.0.wieght=2", "unknown key for the kind `text`; did you mean `weight`?"),
        ("data.sources.2.weight=2", "`data.sources` is a list and has no `2`; its items are numbered 0 to 1"),
        ("data.sources.first.weight=2", "`data.sources` is a list and has no `first`; its items are numbered 0 to 1"),
        ("data.sources.0.weight.x=2", "`data.sources.0.weight` holds no keys in the job file"),
    ],
)
def test_a_mistake_on_an_item_of_a_list_is_that_arguments(argument, said):
    (line,) = lines_of(CASES / "mix.yaml", argument)
    assert line.startswith(f"--set {argument}: {said}")


def test_an_empty_list_has_no_item_to_set():
    (line,) = lines_of(SMALLEST, "evaluation.prompts=[]", "evaluation.prompts.0=x")
    assert line == "--set evaluation.prompts.0=x: `evaluation.prompts` is a list and has no `0`; it has no items"


def test_set_can_repair_a_broken_file(job_file):
    path = job_file(("length: 30 steps", "length: 30"))
    assert lines_of(path) != []
    assert str(read_job(path, ["training.length=30 steps"]).job.training.length) == "30 steps"


def test_a_resolved_job_takes_further_set_values(tmp_path):
    first = read_job(SMALLEST, ["seed=3"])
    again = override_job(first, ["training.length=60 steps", "training.schedule.kind=constant"])
    assert (str(again.job.training.length), again.job.training.schedule.kind, again.job.seed) == (
        "60 steps",
        "constant",
        3,
    )
    assert again.origins["training.length"] == "--set"
    assert again.origins["training.global_batch"] == f"{SMALLEST}:19:17"
    assert override_job(first, []) == first
    not_streamed = read_job(CASES / "hub.yaml")
    assert override_job(not_streamed, []) == not_streamed  # no default is taken for something that was written


def test_a_resolved_job_names_the_files_line_when_an_override_breaks_it():
    with pytest.raises(JobFileError) as caught:
        override_job(read_job(SMALLEST), ["data.sequence_length=256"])
    assert str(caught.value) == (
        "--set data.sequence_length=256: 256 is longer than the model can read (model.init.max_position_embeddings 128)"
    )


# --- files ------------------------------------------------------------------------------------------------------


def test_a_file_that_is_not_there_is_a_job_error(tmp_path):
    assert lines_of(tmp_path / "none.yaml") == [f"{tmp_path}/none.yaml: can't be read: No such file or directory"]
    with pytest.raises(JobError) as caught:
        read_job(tmp_path)
    assert caught.value.exit_code == 2


def test_a_name_too_long_for_a_directory_stays_a_name(job_file):
    change = ("{kind: train, algorithm: bpe, vocab_size: 512}", f"{{kind: pretrained, path: {'t' * 300}}}")
    assert read_job(job_file(change)).job.data.tokenizer.path == "t" * 300


def test_a_path_with_a_nul_is_refused(job_file):
    (line,) = lines_of(job_file(("sample:dutch", r'"a\0.txt"')))
    assert line.endswith("5:9: data.path: holds the character NUL, which no path and no text may hold")


def test_an_argument_that_is_not_utf_8_is_refused():
    assert lines_of(SMALLEST, "output.description=\udcff") == [
        r"--set output.description=\udcff: not UTF-8, so it could not be written to job.json"
    ]


def test_a_users_text_can_not_write_escape_sequences_to_the_terminal(job_file):
    path = job_file(("name: smallest", r'name: "\e[2J\nfake.yaml:1:1: ok"'))
    (line,) = lines_of(path)
    assert r"\x1b[2J\nfake.yaml" in line


def test_values_survive_json_and_build_the_same_job():
    resolved = read_job(CASES / "everything.yaml")
    assert build_job(json.loads(json.dumps(resolved.values))) == resolved.job


def test_reading_a_job_imports_nothing_heavy():
    code = (
        "import sys; from pathlib import Path; from runjob.schemas.read import read_job; "
        f"read_job(Path({str(SMALLEST)!r})); "
        "print([m for m in ('torch', 'numpy', 'jsonschema', 'rich', 'transformers', 'difflib') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("sets", "said"),
    [
        ("log_every=5", "log_every=5: unknown key; it stands in `training.log_every`"),
        ("hardware.device=gpu", "unknown value `gpu`; did you mean `cuda`?"),
        ("training.precision=bfloat16", "unknown value `bfloat16`; did you mean `bf16`?"),
        (
            "training.schedule={kind: linear, warmup: 5}",
            "must be less than 1, not 5; a number is a share of the run, and an amount has a unit: `5 steps`",
        ),
    ],
)
def test_what_other_tools_write_is_answered_with_what_is_written_here(sets: str, said: str) -> None:
    [line] = lines_of(SMALLEST, sets)
    assert said in line
