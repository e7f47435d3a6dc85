"""From a backbone to vectors of texts: jobs/tiny/student_embed.yaml, shortened, on what
jobs/tiny/modernbert_student.yaml has begun to learn; on two ranks it is the same, killed and resumed too, and
sentence-transformers loads what comes out. Then jobs/tiny/student_distill.yaml, from a teacher that runjob ships."""

import gzip
import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer
from transformers import AutoModel, AutoTokenizer

from runjob.data.samples import locate, locate_model
from runjob.schemas.run import RunDir
from tests.conftest import ROOT, Home, Runjob
from tests.end_to_end.conftest import flags, losses, records

pytestmark = pytest.mark.slow

FEW = ("training.global_batch=16", "training.micro_batch=8", "hardware.threads=1", "training.log_every=1 steps")
BACKBONE = (
    "training.length=2 steps",
    "training.schedule.warmup=0.1",
    "evaluation.every=2 steps",
    "evaluation.prompts=[]",
    *FEW,
)
EMBED = (
    "training.length=6 steps",
    "evaluation.every=3 steps",
    "training.checkpoint.every=3 steps",
    "objective.group=4",
    *FEW,
)
DISTILL = (
    "training.length=4 steps",
    "evaluation.every=2 steps",
    "training.checkpoint.every=2 steps",
    "data.tokenizer.path=sample:modernbert_teacher",
    *FEW,
)
SAME = ("batch", "tokens", "predicted", "samples", "learning_rate")


def test_vectors_begin_with_a_backbone_are_the_same_on_two_ranks_resume_exactly_and_load_in_sentence_transformers(
    home: Home, runjob: Runjob, tmp_path: Path
) -> None:
    lines = gzip.decompress(locate("glosses").read_bytes()).splitlines(keepends=True)
    (tmp_path / "few.jsonl").write_bytes(b"".join(lines[:300]))
    jobs, data = ROOT / "jobs" / "tiny", f"data.path={tmp_path / 'few.jsonl'}"
    refused = runjob(jobs / "student_embed.yaml", *flags(EMBED))
    assert refused.returncode == 2
    assert "modernbert_student_tiny@latest: no such job" in refused.stderr
    assert "runjob " in refused.stderr.partition("this makes one: ")[2]
    made = runjob(jobs / "modernbert_student.yaml", *flags(BACKBONE))
    assert made.returncode == 0, made.stdout + made.stderr

    runs = []
    for ranks in (1, 2):
        done = runjob(jobs / "student_embed.yaml", *flags((*EMBED, data, f"hardware.ranks={ranks}")))
        assert done.returncode == 0, done.stdout + done.stderr
        runs.append(RunDir(home.runs / done.stdout.splitlines()[0]))
    one, two = runs
    assert losses(two) == pytest.approx(losses(one), rel=1e-5)
    assert [[record[key] for key in SAME] for record in records(two, "train")] == [
        [record[key] for key in SAME] for record in records(one, "train")
    ]
    # before the first step the weights are the same, and so is every place
    first = [{name: records(run, "eval")[0][name] for name in ("recall_at_1", "mrr", "ndcg_at_10")} for run in runs]
    assert first[0] == first[1]
    [init] = records(one, "init")
    assert init["new_tensors"] == []

    texts = [json.loads(line)["gloss"] for line in lines[:12]]
    tokenizer, network = AutoTokenizer.from_pretrained(one.model), AutoModel.from_pretrained(one.model)
    inputs = tokenizer(texts, padding=True, truncation=True, max_length=64, return_tensors="pt")
    with torch.no_grad():
        states = network(**inputs).last_hidden_state
    mask = inputs.attention_mask[:, :, None]
    ours = (states * mask).sum(1) / mask.sum(1)
    model = SentenceTransformer(str(one.model), device="cpu", local_files_only=True)
    assert model.max_seq_length == 64
    assert torch.allclose(torch.from_numpy(model.encode(texts)), ours, atol=1e-6)
    assert f"max_length={model.max_seq_length}" in (one.model / "README.md").read_text()

    verified = runjob("verify-resume", jobs / "student_embed.yaml", "--kill-at", "4", *flags((*EMBED, data)))
    assert verified.returncode == 0, verified.stdout + verified.stderr


def test_a_teacher_is_in_no_checkpoint_and_a_resume_with_other_weights_of_it_is_refused(
    home: Home, runjob: Runjob, tmp_path: Path
) -> None:
    job = ROOT / "jobs" / "tiny" / "student_distill.yaml"
    (tmp_path / "few.jsonl").write_bytes(
        b"".join(gzip.decompress(locate("glosses").read_bytes()).splitlines(True)[:300])
    )
    teacher = tmp_path / "teacher"
    shutil.copytree(locate_model("sample:modernbert_teacher"), teacher)
    sets = flags((*DISTILL, f"data.path={tmp_path / 'few.jsonl'}", f"objective.teacher={teacher}"))
    refused = runjob(job, *flags(DISTILL))
    assert refused.returncode == 2
    assert "objective.teacher: student_embed_tiny@latest: no such job" in refused.stderr

    begun = runjob(job, *sets, "--set", "training.stop_after=2 steps", "--set", "hardware.ranks=2")
    assert begun.returncode == 75, begun.stdout + begun.stderr
    run = RunDir(home.runs / begun.stdout.splitlines()[0])
    [init] = records(run, "init")
    assert (init["taught"]["numbers"], init["loaded"]["tensors"]) == (128, 0)
    saved = load_file(next(run.checkpoints.glob("step-*/weights-*.safetensors")))
    assert saved["dense.weight"].shape == (128, 48)
    assert sum(weight.numel() for weight in saved.values()) == init["parameters"]

    weights = load_file(teacher / "model.safetensors")
    weights["model.final_norm.weight"] += 1
    save_file(weights, teacher / "model.safetensors", metadata={"format": "pt"})
    other = runjob("resume", run.id)
    assert other.returncode == 1
    assert f"teacher: {init['taught']['sha256']} in the checkpoint" in other.stdout + other.stderr
