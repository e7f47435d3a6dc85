"""jobs/tiny/modernbert_student.yaml, shortened, in one command: from a teacher that the package ships to a model that
others load; killed and resumed bit for bit; handed out as a model of sentences."""

import json
import math

import pytest
import torch
from transformers import AutoModelForMaskedLM, AutoTokenizer

from runjob.schemas.run import read_json
from tests.conftest import ROOT, Home, Processes, Runjob
from tests.end_to_end.conftest import Bench, assert_same_run, flags, losses, records

pytestmark = pytest.mark.slow

SHORT = (
    "training.length=12 steps",
    "training.schedule.warmup=2 steps",
    "training.log_every=1 steps",
    "training.global_batch=8",
    "training.micro_batch=4",
    "training.checkpoint.every=4 steps",
    "evaluation.every=6 steps",
    "data.split={kind: hash, validation: 0.02}",
    "model.init.num_hidden_layers=2",
    "hardware.threads=1",
    "tracking.tensorboard=false",
)
HALF = ("training.precision=bf16", "training.gradient_checkpointing=true")


@pytest.fixture
def student(home: Home, runjob: Runjob, processes: Processes) -> Bench:
    return Bench(home=home, runjob=runjob, processes=processes, job=ROOT / "jobs" / "tiny" / "modernbert_student.yaml")


def test_a_student_is_trained_killed_resumed_and_handed_out(student: Bench, home: Home) -> None:
    straight = student.submit(*SHORT)
    [init] = [record for record in straight.read_events() if record["event"] == "init"]
    assert (len(init["projected"]), init["tied"]) == (5, ["decoder.weight"])
    assert 0.5 < init["explained_variance"] < 1
    assert "variance kept" in student.runjob("logs", straight.id).stdout
    named = read_json(straight.init)["student"]["tensors"]
    assert [tensor["name"] for tensor in named] == list(init["projected"])

    # the scale is a fresh network's: the loss begins at a guess, and is known with 30 % and with 15 % hidden
    evaluations = records(straight, "eval")
    assert (
        evaluations[0]["loss"] == pytest.approx(init["uniform_loss"], abs=0.1) == pytest.approx(math.log(2048), abs=0.1)
    )
    assert evaluations[0]["loss"] != evaluations[0]["loss_hiding_15"]
    assert evaluations[-1]["loss"] < evaluations[0]["loss"] - 0.2
    assert evaluations[-1]["loss_hiding_15"] < evaluations[0]["loss_hiding_15"] - 0.2

    # what saves time and memory learns the same of the same rows, and is resumed as exactly
    half = student.submit(*SHORT, *HALF)
    assert [step["batch"] for step in records(half, "train")] == [step["batch"] for step in records(straight, "train")]
    assert losses(half) == pytest.approx(losses(straight), rel=1e-2) and losses(half) != losses(straight)
    broken = student.start(*SHORT, *HALF)
    student.reach(broken, 5)
    student.kill_everything(broken)
    student.resume(broken)
    assert_same_run(half, broken)

    tokenizer = AutoTokenizer.from_pretrained(straight.model)
    asked = tokenizer("the whale", return_tensors="pt")
    assert set(asked) == {"input_ids", "attention_mask"}
    with torch.no_grad():
        model = AutoModelForMaskedLM.from_pretrained(straight.model).eval()
        assert model(**asked).logits.isfinite().all()
    filled = student.runjob("fill-mask", straight.id, "--json", "--top-k", "2")
    assert filled.returncode == 0, filled.stderr
    assert len([json.loads(line) for line in filled.stdout.splitlines()]) == 2


def test_all_layers_projected_at_the_teachers_scale_learn_and_are_named(student: Bench) -> None:
    run = student.submit(*SHORT, "model.init.layers=uniform", "model.init.embedding_scale=teacher")
    [init] = [record for record in run.read_events() if record["event"] == "init"]
    # the second of two layers is the third of four
    matrices = ("attn.Wqkv", "attn.Wo", "mlp.Wi", "mlp.Wo")
    assert init["projected"] == {
        "model.embeddings.tok_embeddings.weight": "model.embeddings.tok_embeddings.weight",
        **{f"model.layers.0.{name}.weight": f"model.layers.0.{name}.weight" for name in matrices},
        **{f"model.layers.1.{name}.weight": f"model.layers.2.{name}.weight" for name in matrices},
    }
    assert init["embedding_rms"] == pytest.approx(init["projected_rms"], rel=1e-6)
    assert init["projected_rms"] > 1.5 * 0.02  # a fresh network's
    first, *_, last = records(run, "eval")
    assert last["loss"] < first["loss"] - 0.2


def test_a_teacher_that_does_not_fit_is_refused_before_anything_starts(student: Bench, home: Home) -> None:
    sets = ("model.init.hidden_size=192", "model.init.num_attention_heads=6")
    done = student.runjob(student.job, *flags(sets))
    assert done.returncode == 2, done.stdout
    assert "model.init.hidden_size: 192 is more than the 128 of the teacher sample:modernbert_teacher" in done.stderr
    assert not list(home.runs.iterdir())
    gone = student.runjob(student.job, "--set", f"model.init.teacher={home.path}/gone")
    assert gone.returncode == 2
    assert "model.init.teacher" in gone.stderr and "no such directory" in gone.stderr
