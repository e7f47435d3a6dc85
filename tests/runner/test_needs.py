"""What this machine lacks for a job is said before anything starts, all of it, with what to do."""

from pathlib import Path

from runjob.runner.local_files import missing_files
from runjob.runner.needs import missing_needs
from runjob.schemas.job import Job
from runjob.schemas.machine import Machine
from runjob.schemas.read import read_job
from tests.conftest import ROOT

BARE = Machine(cores=2, gpus=(), processor="some processor")
FOUR = Machine(cores=48, gpus=("NVIDIA A10G",) * 4, processor="some processor")


def small(*sets: str) -> Job:
    return read_job(ROOT / "jobs" / "gpt2_dutch_small.yaml", sets).job


def tiny(*sets: str) -> Job:
    return read_job(ROOT / "jobs" / "tiny" / "gpt2_dutch.yaml", sets).job


def test_the_tiny_job_needs_nothing() -> None:
    assert missing_needs(tiny(), BARE, ask_hub=False) == ()


def test_gpus_model_and_data_are_all_named_at_once_with_the_tiny_twin(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    lines = missing_needs(small(), BARE, ask_hub=False)
    assert [line.split(":")[0] for line in lines[:3]] == ["hardware.gpus", "data.path", "data.tokenizer.path"]
    assert str(tmp_path) in lines[1]
    assert "jobs/tiny/gpt2_dutch.yaml" in lines[3]


def test_a_hub_that_does_not_answer_is_found_out_before_anything_starts(runjob) -> None:
    nowhere = {"HF_HUB_OFFLINE": "0", "HF_ENDPOINT": "http://127.0.0.1:9"}
    done = runjob(ROOT / "jobs" / "gpt2_dutch_small.yaml", env=nowhere)
    assert done.returncode == 2
    assert "data.path: BramVanroy/wikipedia_culturax_dutch is neither" in done.stderr
    assert "the Hub does not answer" in done.stderr
    assert "jobs/tiny/gpt2_dutch.yaml" in done.stderr
    assert done.stdout == ""


def test_what_the_hub_cache_holds_is_not_missing(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    (tmp_path / "datasets--BramVanroy--wikipedia_culturax_dutch").mkdir()
    (tmp_path / "models--openai-community--gpt2").mkdir()
    assert missing_needs(small(), FOUR, ask_hub=False) == ()


def test_more_gpus_than_there_are_is_an_error_and_never_the_cpu() -> None:
    job = tiny("hardware.device=cuda", "hardware.gpus=8", "hardware.ranks=null")
    assert "asks for 8, nvidia-smi lists 4" in missing_needs(job, FOUR, ask_hub=False)[0]


def test_a_compiler_is_asked_for_where_the_job_compiles(monkeypatch) -> None:
    monkeypatch.setenv("CXX", "/nowhere/c++")
    assert missing_needs(tiny(), BARE, ask_hub=False) == ()
    [line] = missing_needs(tiny("training.compile=true"), BARE, ask_hub=False)
    assert line == (
        "training.compile: torch.compile needs a compiler (/nowhere/c++; apt-get install g++), not found here; write "
        "false to do without"
    )
    monkeypatch.delenv("CXX")
    assert missing_needs(tiny("training.compile=true"), BARE, ask_hub=False) == ()


def test_a_compiler_is_asked_for_where_the_job_insists_on_kernels(monkeypatch) -> None:
    monkeypatch.setenv("CXX", "/nowhere/c++")
    bf16 = ("training.precision=bf16", "hardware.threads=1")
    assert missing_needs(tiny(*bf16), BARE, ask_hub=False) == ()
    [line] = missing_needs(tiny(*bf16, "training.kernels=fused"), BARE, ask_hub=False)
    assert line == (
        "training.kernels: the fused kernels want a C++ compiler, and /nowhere/c++ is not found here (apt-get install "
        "g++); write auto or torch to do without"
    )


def test_a_second_node_is_not_silently_left_out() -> None:
    assert "hardware.nodes: 2" in missing_needs(tiny("hardware.nodes=2"), BARE, ask_hub=False)[0]


def test_files_of_sources_and_sides_are_looked_for_and_addresses_are_not() -> None:
    cases = ROOT / "tests" / "cases" / "valid"
    second = "data.sources[1].path=[x.jsonl, 'https://127.0.0.1:9/y.jsonl']"
    (line,) = map(str, missing_files(read_job(cases / "mix.yaml", [second])))
    remedy = "`runjob samples` lists corpora that come with runjob"
    assert line == f"--set: data.sources[1].path: {Path.cwd()}/x.jsonl: no such file; {remedy}"
    sides = missing_files(read_job(cases / "files.yaml", ["data.path=sample:dutch"]))
    assert {problem.path for problem in sides} == {"data.split.validation", "data.split.test"}
    assert all(problem.line for problem in sides)
    (line,) = map(str, missing_files(read_job(cases / "hub.yaml", ["data.path=./published"])))
    assert line == f"--set: data.path: {Path.cwd()}/published: no such directory; data/*.parquet in it would do"


def test_an_address_names_the_package_that_it_needs_and_nobody_is_asked() -> None:
    one = "data.path=[sample:dutch, 'abfs://container@account/a.txt', 'http://127.0.0.1:9/a.txt']"
    [line] = missing_needs(tiny(one), BARE, ask_hub=True)
    assert line.startswith("data.path: abfs://container@account/a.txt: abfs:// needs a package")
    assert "adlfs" in line
    sides = ["data.split={kind: files, validation: 'abfs://c@a/b.txt'}", "data.path=file:///a.txt"]
    assert len(missing_needs(tiny(*sides), BARE, ask_hub=False)) == 1
