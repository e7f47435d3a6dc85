"""What a resume promises follows from what has changed since the last attempt, and names it."""

import dataclasses
import importlib.metadata
import json
from pathlib import Path

import pytest

from runjob.runner.changes import judge
from runjob.runner.compile import compile_job
from runjob.runner.place import Place
from runjob.runner.promise import OTHER_RUN, SAME, SAME_BATCHES, SAME_THERE, promise
from runjob.schemas.machine import Machine
from runjob.schemas.plan import Plan
from runjob.schemas.read import read_job
from runjob.schemas.run import RunDir

MACHINE = Machine(cores=2, gpus=(), processor="Some CPU avx2")
HERE = Place(launcher="local", machine=MACHINE, here=True)
THERE = Place(launcher="ssh", machine=MACHINE, here=False)
CASE = Path(__file__).parent.parent / "cases" / "valid" / "smallest.yaml"


@pytest.fixture
def plan() -> Plan:
    return compile_job(read_job(CASE).job, MACHINE)


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    """A run whose last attempt ran on MACHINE with the versions that are installed (torch's with its local tag)."""
    versions = {name: importlib.metadata.version(name) for name in ("torch", "deepspeed")}
    versions["torch"] = versions["torch"].split("+")[0] + "+elsewhere"
    start = {"event": "start", "step": 0, "attempt": 1, "processor": MACHINE.processor, "versions": versions}
    run = RunDir.create(tmp_path, "promised")
    run.events.write_text(json.dumps({**start, "processor": "an older one"}) + "\n" + json.dumps(start) + "\n")
    return run


def test_nothing_changed_is_bit_identical(run: RunDir, plan: Plan):
    assert promise(run, [], plan, plan, HERE)[0] == SAME


def test_free_changes_take_nothing_from_the_promise(run: RunDir, plan: Plan):
    assert promise(run, [judge("training.checkpoint.keep", 1, 2)], plan, plan, HERE)[0] == SAME


def test_other_pieces_keep_the_batches_and_are_named(run: RunDir, plan: Plan):
    said = promise(run, [judge("hardware.zero", 0, 1)], plan, plan, HERE)
    assert said[0] == SAME_BATCHES
    assert said[1].startswith("hardware.zero: 0 -> 1")


def test_an_accepted_change_is_another_run_from_here_on(run: RunDir, plan: Plan):
    assert promise(run, [judge("training.learning_rate", 1, 2)], plan, plan, HERE)[0] == OTHER_RUN


def test_threads_that_the_machine_decides_are_compared_as_planned(run: RunDir, plan: Plan):
    more = dataclasses.replace(plan, resources=dataclasses.replace(plan.resources, threads=16))
    assert promise(run, [], plan, more, HERE) == [SAME_BATCHES, "threads a rank: 2 then, 16 now"]


def test_another_processor_is_named(run: RunDir, plan: Plan):
    other = dataclasses.replace(HERE, machine=dataclasses.replace(MACHINE, processor="Other CPU"))
    assert promise(run, [], plan, plan, other) == [SAME_BATCHES, "processor: Some CPU avx2 then, Other CPU now"]


def test_another_version_is_named(run: RunDir, plan: Plan):
    event = json.loads(run.events.read_text().splitlines()[-1])
    event["versions"]["deepspeed"] = "0.0.1"
    run.events.write_text(json.dumps(event) + "\n")
    (first, second) = promise(run, [], plan, plan, HERE)
    assert (first, second.startswith("deepspeed: 0.0.1 then, ")) == (SAME_BATCHES, True)


def test_of_versions_elsewhere_nothing_is_promised_before_it_starts_there(run: RunDir, plan: Plan):
    assert promise(run, [], plan, plan, THERE) == [SAME_THERE]
    unknown = dataclasses.replace(THERE, machine=dataclasses.replace(MACHINE, processor=""))
    assert promise(run, [], plan, plan, unknown) == [SAME_THERE]
    other = dataclasses.replace(THERE, machine=dataclasses.replace(MACHINE, processor="Other CPU"))
    assert promise(run, [], plan, plan, other) == [SAME_BATCHES, "processor: Some CPU avx2 then, Other CPU now"]


def test_a_compiler_that_is_gone_takes_the_kernels_along(run: RunDir, plan: Plan, monkeypatch):
    event = json.loads(run.events.read_text().splitlines()[-1])
    for kernels, expected in {"torch": [SAME], "fused": [SAME_BATCHES]}.items():
        run.events.write_text(json.dumps({**event, "kernels": kernels}) + "\n")
        monkeypatch.setenv("CXX", "true")
        assert promise(run, [], plan, plan, HERE)[0] == SAME
        monkeypatch.setenv("CXX", "/nowhere/c++")
        assert promise(run, [], plan, plan, HERE)[:1] == expected
    assert promise(run, [], plan, plan, HERE)[1] == (
        "kernels: fused then; now the fused kernels want a C++ compiler, and /nowhere/c++ is not found here "
        "(apt-get install g++)"
    )
