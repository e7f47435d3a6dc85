"""From a backbone to relations: jobs/tiny/paleo_re.yaml, shortened, on what jobs/tiny/paleo_dapt.yaml has begun to
learn; killed and resumed it is the same, and plain transformers loads what comes out."""

import gzip
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForTokenClassification, AutoTokenizer

from runjob.data.samples import locate
from runjob.schemas.run import RunDir
from tests.conftest import ROOT, Home, Runjob
from tests.end_to_end.conftest import flags, records

pytestmark = pytest.mark.slow

FEW = ("training.global_batch=8", "training.micro_batch=8", "hardware.threads=1", "training.log_every=1 steps")
BACKBONE = (
    "training.length=2 steps",
    "evaluation.every=2 steps",
    "evaluation.best=loss",
    "evaluation.early_stopping=null",
    "evaluation.prompts=[]",
    *FEW,
)
HEAD = ("training.length=6 steps", "evaluation.every=3 steps", "training.checkpoint.every=3 steps", *FEW)


def test_a_head_for_relations_begins_with_a_backbone_resumes_exactly_and_loads_in_plain_transformers(
    home: Home, runjob: Runjob, tmp_path: Path
) -> None:
    lines = gzip.decompress(locate("paleo_ner").read_bytes()).splitlines(keepends=True)
    (tmp_path / "few.jsonl").write_bytes(b"".join(lines[:120]))
    jobs, data = ROOT / "jobs" / "tiny", f"data.path={tmp_path / 'few.jsonl'}"
    refused = runjob(jobs / "paleo_re.yaml", *flags(HEAD))
    assert refused.returncode == 2
    assert "paleo_dapt_tiny@latest: no such job" in refused.stderr
    made = runjob(jobs / "paleo_dapt.yaml", *flags((*BACKBONE, data)))
    assert made.returncode == 0, made.stdout + made.stderr

    done = runjob(jobs / "paleo_re.yaml", *flags((*HEAD, data)))
    assert done.returncode == 0, done.stdout + done.stderr
    run = RunDir(home.runs / done.stdout.splitlines()[0])
    [init] = records(run, "init")
    assert {tensor["name"] for tensor in init["new_tensors"]} == {"classifier.weight", "classifier.bias"}
    assert init["extended"]["rows"] == 4, "a row for each mark"
    evaluations = records(run, "eval")
    assert {"f1", "f1_macro", "f1/OCCURS_IN", "accuracy"} <= set(evaluations[-1])

    network = AutoModelForTokenClassification.from_pretrained(run.model)
    tokenizer = AutoTokenizer.from_pretrained(run.model)
    assert [network.config.id2label[number] for number in (0, 4, 5, 9)] == [
        "E1:NO_RELATION",
        "E1:PART_OF",
        "E2:NO_RELATION",
        "E2:PART_OF",
    ]
    inputs = tokenizer("the [E1] wing [/E1] of a [E2] bird [/E2]", return_tensors="pt")
    marks = tokenizer.convert_tokens_to_ids(["[E1]", "[E2]"])
    first, second = map(inputs.input_ids[0].tolist().index, marks)
    with torch.no_grad():
        outputs = network(**inputs).logits[0]
    assert torch.isfinite(outputs[first, :5] + outputs[second, 5:]).all()
    verified = runjob("verify-resume", jobs / "paleo_re.yaml", "--kill-at", "4", *flags((*HEAD, data)))
    assert verified.returncode == 0, verified.stdout + verified.stderr
