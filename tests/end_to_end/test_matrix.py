"""A real matrix: three rates on one corpus that is prepared once, each cell a run with the losses of its own rate."""

import pytest

from runjob.schemas.group import GroupDir
from runjob.schemas.run import read_json
from tests.end_to_end.conftest import Bench, flags, losses

pytestmark = pytest.mark.slow

SETS = (
    "training.length=2 steps",
    "evaluation.every=never",
    "evaluation.best=null",
    "model.init.dropout=0",
    "training.schedule.warmup=1 steps",
)


def test_cells_share_the_corpus_and_the_first_loss_and_learn_at_their_own_rate(bench: Bench):
    sweep = bench.home.path / "sweep.yaml"
    sweep.write_text("extends: small.yaml\nmatrix: {training.learning_rate: [1e-2, 1e-3, 1e-4]}\n")
    done = bench.runjob(sweep, *flags(SETS))
    assert done.returncode == 0, done.stdout + done.stderr
    group = GroupDir(bench.home.runs / "groups" / done.stdout.splitlines()[0])
    runs = group.runs()
    assert [run.read_status().state for run in runs] == ["finished"] * 3
    assert len({read_json(run.data)["store"] for run in runs}) == 1
    first, second = zip(*(losses(run) for run in runs), strict=True)
    assert len(set(first)) == 1
    assert len(set(second)) == 3
    assert all((run.model / "model.safetensors").is_file() for run in runs)
