"""The pages for those who come from elsewhere name fields that exist, and the jobs that they show are the other
program's call: each value typed from that call into a table here."""

import re
from pathlib import Path

import pytest

from runjob.schemas.read import read_job
from tests.conftest import ROOT
from tests.schemas.test_agreement import FIELDS
from tests.worker.seed_tables import values

PAGES = sorted((ROOT / "docs").glob("coming-from-*.md"))
JOB = re.compile(r"^```yaml\n(schema: 1\n.*?)^```$", re.MULTILINE | re.DOTALL)
SECTIONS = "data|model|objective|training|evaluation|hardware|tracking|output"
PATH = re.compile(rf"`((?:{SECTIONS})\.[a-z0-9_.]*[a-z0-9_])")
FILES = {"training.py"}  # of the GPT-2 Dutch scripts
KNOWN = {path for path, _, _ in FIELDS}

RUN_MLM = {
    "seed": 42,
    "data.path": "Salesforce/wikitext",
    "data.config": "wikitext-103-raw-v1",
    "data.sequence_length": 512,
    "data.layout": "pack",
    "data.split.validation": "validation",
    "model.init.path": "FacebookAI/roberta-base",
    "objective.kind": "mlm",
    "objective.unit": "token",
    "objective.probability": 0.15,
    "objective.replace.mask": 0.8,
    "objective.replace.random": 0.1,
    "training.length": "3 epochs",
    "training.global_batch": 4 * 8 * 4,
    "training.micro_batch": 8,
    "training.learning_rate": 5e-5,
    "training.schedule.kind": "linear",
    "training.schedule.warmup": "0.06",
    "training.schedule.final": 0.0,
    "training.optimizer.betas": (0.9, 0.999),
    "training.optimizer.eps": 1e-8,
    "training.optimizer.weight_decay": 0.01,
    "training.gradient_clipping": 1.0,
    "training.precision": "bf16",
    "training.log_every": "10 steps",
    "training.checkpoint.every": "500 steps",
    "training.checkpoint.keep": 2,
    "evaluation.every": "500 steps",
    "hardware.gpus": 4,
}
AXOLOTL = {
    "seed": 42,
    "data.path": "my-team/notes",
    "data.field": "body",
    "data.sequence_length": 2048,
    "data.layout": "pack",
    "data.attention": "document",
    "data.split.validation": 0.02,
    "model.init.path": "HuggingFaceTB/SmolLM2-135M",
    "objective.kind": "clm",
    "training.length": "2 epochs",
    "training.global_batch": 4 * 4 * 8,
    "training.micro_batch": 4,
    "training.learning_rate": 2e-4,
    "training.schedule.kind": "cosine",
    "training.schedule.warmup": "0.03",
    "training.schedule.final": 0.1,
    "training.optimizer.weight_decay": 0.1,
    "training.gradient_clipping": 1.0,
    "training.gradient_checkpointing": True,
    "training.precision": "bf16",
    "training.log_every": "10 steps",
    "training.checkpoint.every": "200 steps",
    "training.checkpoint.keep": 3,
    "evaluation.every": "200 steps",
    "evaluation.early_stopping.patience": "3 evaluations",
    "hardware.zero": 2,
    "tracking.wandb.project": "notes",
}


@pytest.mark.parametrize(("page", "call"), [("coming-from-run-mlm.md", RUN_MLM), ("coming-from-axolotl.md", AXOLOTL)])
def test_the_job_on_the_page_is_the_call_on_the_page(page, call, tmp_path: Path) -> None:
    (text,) = JOB.findall((ROOT / "docs" / page).read_text(encoding="utf-8"))
    (tmp_path / "job.yaml").write_text(text, encoding="utf-8")
    assert values(read_job(tmp_path / "job.yaml").job, call) == call


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_field_that_a_page_names_exists(page: Path) -> None:
    named = set(PATH.findall(page.read_text(encoding="utf-8")))
    assert len(named) > 5
    assert named - KNOWN - FILES == set()
