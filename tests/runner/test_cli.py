"""Words to calls: help, mistakes, listings, and that nothing heavy is loaded on the way."""

import importlib
import json
import shlex
import subprocess
import sys
from argparse import ArgumentParser
from pathlib import Path

import pytest

from runjob.data.space import in_words
from runjob.runner.cli import NAMES, ROOMS, find_command
from runjob.runner.command import parser_of
from runjob.runner.commands_model import generate_arguments
from runjob.runner.commands_run import SUBMIT
from runjob.schemas.run import RunDir

ROOT = Path(__file__).parent.parent.parent
LIGHT = """\
import sys
from runjob.runner.cli import main
code = main(sys.argv[1:])
heavy = {"torch", "transformers", "datasets", "deepspeed", "rich", "submitit", "fsspec"} & set(sys.modules)
print(f"code {code} heavy {sorted(heavy)}", file=sys.stderr)
"""


@pytest.mark.parametrize("command", ["", *NAMES])
def test_help_fits_eighty_columns(runjob, command: str):
    done = runjob(*filter(None, [command]), "--help", env={"COLUMNS": "80"})
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert done.stderr == ""
    assert lines[lines.index("examples:") + 1 :], "no example"


@pytest.mark.parametrize("name", ["", *NAMES])
def test_every_example_of_the_help_is_one_that_its_command_takes(name: str):
    command = find_command(name) if name else SUBMIT
    assert command.examples
    for example in command.examples:
        words = shlex.split(example.partition(" > ")[0])
        assert words[: 1 + len(name.split())] == ["runjob", *name.split()], example
        # ends the test where it does not understand
        parser_of(command).parse_intermixed_args(words[1 + len(name.split()) :])


def test_the_help_names_every_command(runjob):
    lines = runjob("--help").stdout.splitlines()
    assert all(any(line.startswith(f"  {name} ") for line in lines) for name in NAMES)


def test_every_command_of_every_room_is_known_by_its_name():
    rooms = {path.stem for path in (ROOT / "runner").glob("commands_*.py")}
    assert set(ROOMS) == rooms
    for room, names in ROOMS.items():
        offered = importlib.import_module(f"runjob.runner.{room}").COMMANDS
        assert tuple(command.name for command in offered) == names


def test_the_version_is_the_installed_one(runjob):
    import importlib.metadata

    assert runjob("--version").stdout == f"runjob {importlib.metadata.version('runjob')}\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["statsu", "latest"], "statsu: neither a command nor a job file; did you mean `status`?"),
        (["smal.yaml"], "smal.yaml: no such job file; did you mean `small.yaml`?"),
        (
            ["--launcher", "locl", "small.yaml"],
            "--launcher locl: no such launcher, there are: aws, local, slurm, ssh; did you mean `local`?",
        ),
        (["plan", "small.yaml", "--launcher", "moon"], "--launcher moon: no such launcher"),
        (["small.yaml", "--set", "training.lenght=3"], "did you mean `length`?"),
        (["resume", "latest", "--from", "x"], "no such job"),
    ],
)
def test_a_mistyped_word_gets_the_nearest_one(runjob, job: Path, words: list[str], said: str):
    done = runjob(*words)
    assert said in done.stderr
    assert done.returncode == (1 if said == "no such job" else 2)
    assert done.stdout == ""
    # a problem of the job begins with where it stands, everything else with our name
    assert done.stderr.startswith(("runjob: ", "--set "))


@pytest.mark.parametrize(
    "words",
    [
        ["validate", "--format", "json", "small.yaml"],
        ["validate", "small.yaml", "--format", "json"],
        ["--format", "json", "validate", "small.yaml"],
        ["validate", "--json", "small.yaml"],
    ],
)
def test_options_stand_before_or_after_the_file(runjob, job: Path, words: list[str]):
    done = runjob(*words)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["valid"] is True


def test_validate_tells_every_problem_of_every_file_and_ends_with_2(runjob, job: Path):
    bad = job.with_name("bad.yaml")
    bad.write_text(job.read_text().replace("sequence_length: 32", "sequence_lenght: 32").replace("seed", "sed"))
    done = runjob("validate", job, bad)
    assert done.returncode == 2
    lines = done.stdout.splitlines()
    assert lines[0] == f"{job}: valid"
    assert any(line.startswith(f"{bad}:") and "sequence_length" in line for line in lines[1:])


def test_a_wrong_job_leaves_no_run_behind(runjob, job: Path, home):
    done = runjob(job, "--set", "training.global_batch=0")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert list(home.runs.iterdir()) == []


def test_gpus_asked_for_and_not_there_stop_the_job_before_anything_starts(runjob, job: Path, home):
    done = runjob(job, "--set", "hardware.device=cuda", "--set", "hardware.gpus=8", env={"CUDA_VISIBLE_DEVICES": ""})
    assert (done.returncode, "hardware.gpus" in done.stderr) == (2, True), done.stderr
    assert list(home.runs.iterdir()) == []


@pytest.mark.parametrize("words", [["validate", "small.yaml"], ["plan", "small.yaml"], ["ps"], ["--help"], ["samples"]])
def test_no_light_command_loads_torch_or_rich(home, job: Path, words: list[str]):
    done = subprocess.run(
        [sys.executable, "-c", LIGHT, *words], env=home.env, cwd=home.path, capture_output=True, text=True, check=True
    )
    assert done.stderr.endswith("code 0 heavy []\n"), done.stderr


# Of these a command needs the ones that it is allowed: together they take longer than all of `validate`.
LATE = {
    *("importlib.metadata", "email.message", "ssl", "urllib.request", "ctypes", "difflib", "secrets", "jsonschema"),
    *("runjob.schemas.job", "runjob.schemas.run", "runjob.launchers.base", "runjob.data.downloads", "yaml", "hashlib"),
    *("subprocess", "socket", "threading", "platform", "platformdirs", "gzip"),
}
OF_PS = {"runjob.schemas.run", "runjob.launchers.base", "hashlib", "subprocess", "socket", "threading", "platform"}


@pytest.mark.parametrize(
    ("words", "rooms", "allowed"),
    [
        (["validate", "small.yaml"], {"commands_check"}, {"yaml"}),
        (["plan", "small.yaml"], {"commands_check"}, OF_PS | {"yaml", "runjob.schemas.job", "platformdirs", "gzip"}),
        (["ps"], {"commands_jobs", "commands_fetch"}, OF_PS),
    ],
)
def test_a_command_imports_its_own_rooms_and_what_they_need(home, job: Path, words, rooms, allowed):
    program = (
        "import json, sys; from runjob.runner.cli import main; main(sys.argv[1:]);"
        " print(json.dumps(list(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *words], env=home.env, cwd=home.path, capture_output=True, text=True, check=True
    )
    loaded = set(json.loads(done.stderr))
    assert {name for name in loaded if name.startswith("runjob.runner.commands_")} == {
        f"runjob.runner.{room}" for room in rooms
    }
    assert loaded & LATE <= allowed


def test_plan_shows_and_writes_what_would_run(runjob, job: Path, home, tmp_path: Path):
    done = runjob("plan", job, "--json", "--out", tmp_path / "plan")
    plan = json.loads(done.stdout)
    assert plan["batch"] == {"global_batch": 8, "ranks": 1, "micro_batch": 4, "micro_tokens": None, "accumulation": 2}
    assert (plan["steps"], plan["tokens_per_step"]) == (20, 256)
    assert json.loads((tmp_path / "plan" / "deepspeed.json").read_text()) == plan["deepspeed"]
    assert list(home.runs.iterdir()) == []
    text = runjob("plan", job).stdout
    assert "global batch   8 sequences = 1 rank(s) x 2 micro batch(es) x 4" in text
    assert "torch.distributed.run" in text
    size = in_words(12 * plan["parameters"])
    assert f"checkpoint     {size} on the disk, and a copy of that size in main memory" in text


def test_listings_are_json_on_demand_and_empty_ones_too(runjob):
    assert json.loads(runjob("ps", "--json").stdout) == []
    assert "no jobs under" in runjob("ps").stdout
    samples = json.loads(runjob("samples", "--json").stdout)
    assert [sample["name"] for sample in samples] == [
        *("domains", "domains_labelled", "dutch", "english", "glosses", "paleo", "paleo_gold", "paleo_ner"),
        *("paleo_rocks", "paleo_taxa", "paleo_times"),
    ]
    assert all(sample["size"] == Path(sample["path"]).stat().st_size for sample in samples)
    assert all(sample["license"] in Path(sample["notice"]).read_text(encoding="utf-8") for sample in samples)
    shown = runjob("samples").stdout
    assert all(f"sample:{sample['name']}  " in shown and f"data: {sample['data']}\n" in shown for sample in samples)
    jobs = json.loads(runjob("ls", "--json").stdout)
    assert all(Path(row["path"]).is_file() for row in jobs)
    twin = next(row for row in jobs if row["name"] == "tiny/gpt2_dutch")
    assert twin["summary"].startswith("The tiny twin of ")  # one whole sentence of the file's first comment
    assert twin["summary"].endswith(", offline.")


def test_prepare_makes_the_store_and_leaves_no_run(runjob, job: Path, home):
    job.write_text(job.read_text().replace("text.txt", "sample:dutch"))
    done = runjob("prepare", job, "--set", "data.warn_below=1000000")
    assert done.returncode == 0, done.stderr
    assert "training documents are fewer than data.warn_below 1,000,000" in done.stdout
    store = done.stdout.splitlines()[-1].removeprefix("prepared: ")
    assert Path(store).is_dir()
    assert Path(store).is_relative_to(home.cache)
    assert list(home.runs.iterdir()) == []


def test_prepare_ends_with_words_of_the_data_and_says_that_a_text_has_fewer_pieces_than_were_asked_for(
    runjob, job, home
):
    (home.path / "text.txt").write_text("een twee\ndrie vier\nvijf zes\nzeven acht\n")
    done = runjob("prepare", job, "--set", "data.split={kind: first, validation: 1}")
    assert done.returncode == 0, done.stderr
    said = "(512 were asked for, and these texts have no more pieces)"
    assert len([line for line in done.stdout.splitlines() if line.endswith(said)]) == 1
    # `done` would be read as the end of the training, which may have begun
    assert "the data are prepared" in done.stdout + done.stderr
    assert "done" not in (done.stdout + done.stderr).split()


def test_files_that_are_not_there_are_named_by_their_line_before_a_run_exists(runjob, job: Path, home):
    text = job.read_text().replace("text.txt", "[text.txt, none-*.txt]")
    job.write_text(text.replace("{kind: train, algorithm: bpe, vocab_size: 512}", "{kind: pretrained, path: ./none}"))
    init = f"model.init={{kind: pretrained, path: {job}}}"
    samples = "`runjob samples` lists corpora that come with runjob"
    data = [
        f"{job}:5:9: data.path: {home.path}/none-*.txt: no file matches; {samples}",
        f"{job}:7:39: data.tokenizer.path: {home.path}/none: no such directory; "
        "`runjob tokenizer build` or `extend` makes one",
    ]
    assert runjob("validate", job, "--set", init).returncode == 0
    submitted = runjob(job, "--set", init)
    assert (submitted.returncode, submitted.stdout) == (2, "")
    model = f"--set: model.init.path: {job}: is a file and no directory; `runjob export` writes one"
    assert submitted.stderr.splitlines() == [*data, model]
    assert [line for line in runjob("plan", job).stdout.splitlines() if "missing here" in line] == [
        f"missing here   {line}" for line in data
    ]
    prepared = runjob("prepare", job, "--set", "data.path=nowhere.txt")
    assert (prepared.returncode, prepared.stdout) == (2, "")
    assert prepared.stderr.splitlines() == [
        f"--set: data.path: {home.path}/nowhere.txt: no such file; {samples}",
        data[1],
    ]
    assert list(home.runs.iterdir()) == []


def test_generate_passes_on_what_was_typed_and_nothing_else():
    parser = ArgumentParser()
    find_command("generate").configure(parser)
    bare = parser.parse_args(["latest"])
    assert generate_arguments(bare) == []
    typed = [
        "--prompt=a b",
        "--prompt=$(c)",
        "--prompt=-d",  # by itself it would be read as an option
        "--complete=--e",
        "--max-new-tokens",
        "5",
        "--temperature",
        "0.0",
        "--seed",
        "0",
        "--benchmark",
    ]
    assert generate_arguments(parser.parse_args(["latest", *typed])) == typed


def test_generate_without_a_model_says_when_there_will_be_one(runjob, home):
    run = RunDir.create(home.runs, "early")
    done = runjob("generate", run.id, "--prompt", "x")
    assert (done.returncode, "no model yet" in done.stderr) == (2, True)
    assert f"`runjob export {run.id} --step latest --to DIR`" in done.stderr
    assert runjob("generate", "nothing-here").returncode == 1


def test_schema_is_the_bundled_one(runjob):
    schema = json.loads(runjob("schema").stdout)
    assert schema["$defs"]["job"]["properties"]["training"]


def test_a_reader_that_has_enough_is_no_traceback(home):
    reader = "import subprocess, sys; p = subprocess.Popen(['runjob', 'schema'], stdout=subprocess.PIPE, bufsize=0)\n"
    reader += "p.stdout.read(1); p.stdout.close(); sys.exit(0 if p.wait() in (0, 141) else 9)\n"
    done = subprocess.run([sys.executable, "-c", reader], env=home.env, cwd=home.path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
