"""The estimate of a plan beside what a step takes: small networks of every family, whose tensors torch's allocator
counts, and a whole step of the engine in a process of its own."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.memory.fit import MODES, NETWORKS, Traced, micro_of, trace
from benchmarks.memory.networks import Case, job_of
from runjob.runner.memory_activations import Activations, activations
from runjob.runner.model_shape import shape_of
from tests.conftest import ROOT

pytestmark = pytest.mark.usefixtures("kernels", "one_thread")
ALL = (*NETWORKS, ("roberta", "mlm"))
# In turn, so that each network and each kind of operations is there
TURNS = [(*network, MODES[index % len(MODES)]) for index, network in enumerate(ALL)]


def both(case: Case, folder: Path) -> tuple[Traced, Activations]:
    job = job_of(case, folder)
    shape = shape_of(job)
    assert shape is not None
    found = activations(job, shape, micro_of(case))
    assert found is not None
    return trace(case, folder), found


@pytest.mark.parametrize(("family", "objective", "mode"), TURNS)
def test_a_micro_batch_keeps_and_needs_what_is_said(family: str, objective: str, mode: str, tmp_path: Path) -> None:
    sizes = {"width": 72, "inner": 216, "layers": 3, "heads": 3, "length": 88, "rows": 4, "classes": 300}
    seen, said = both(Case(family=family, objective=objective, mode=mode, **sizes), tmp_path)
    assert said.kept == pytest.approx(seen.kept, rel=0.03)
    most = max(seen.forward, seen.backward)
    assert 0.9 * most < said.kept + max(said.loss, said.passing) < 1.15 * most


@pytest.mark.parametrize(("family", "objective"), [("gpt2", "clm"), ("deberta_v2", "mlm"), ("mpnet", "plm")])
def test_layers_that_are_computed_again_keep_their_input_alone(family: str, objective: str, tmp_path: Path) -> None:
    sizes = {"width": 72, "inner": 216, "layers": 5, "heads": 3, "length": 88, "rows": 4, "classes": 300}
    case = Case(family=family, objective=objective, mode="gpu bf16_params", checkpointing=True, **sizes)
    seen, said = both(case, tmp_path)
    assert said.kept == pytest.approx(seen.kept, rel=0.1)
    assert 0.85 * seen.backward < said.kept + max(said.loss, said.passing) < 1.3 * seen.backward


def test_whole_steps_of_the_engine_take_what_is_said(tmp_path: Path) -> None:
    """The first cases of the scoring set, as the bench prints them."""
    command = [sys.executable, "-m", "benchmarks.memory", "score", "--cases", "3"]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=300, check=True)
    said = re.search(r"3 steps: median error (\d+\.\d)%, from (\S+)% to (\S+)%", done.stdout)
    assert said is not None, done.stdout + done.stderr
    assert float(said[1]) < 10 and float(said[2]) > -15
