"""The jobs for paleontology: each of the seed's values that they keep or change, typed from its documents."""

import pytest

from runjob.schemas.job_data import JsonlData, PretrainedTokenizer
from runjob.schemas.job_model import PretrainedInit, ScratchDebertaV2
from tests.worker.seed_tables import job_of, stands_in, values

DOCUMENT = "coming-from-paleobert.md"

KEPT = {
    "seed": 42,
    "data.field": "norm_text",
    "data.sequence_length": 512,
    "data.tokenizer.path": "microsoft/deberta-v3-base",
    "data.tokenizer.terms": ["taxa", "strat_units", "chrono_units", "localities"],
    "model.init.path": "microsoft/deberta-v3-base",
    "objective.probability": 0.15,
    "objective.replace.mask": 0.8,
    "objective.replace.random": 0.1,
    "objective.replace.keep": 0.1,
    "training.length": "3 epochs",
    # 8 rows at a time, 16 times: the seed's effective batch
    "training.global_batch": 128,
    "training.micro_batch": 8,
    "training.gradient_checkpointing": True,
    "training.learning_rate": 2e-4,
    "training.schedule.kind": "linear",
    "training.schedule.final": 0.0,
    "training.optimizer.weight_decay": 0.01,
    "training.optimizer.betas": (0.9, 0.98),
    "training.optimizer.eps": 1e-6,
    "training.gradient_clipping": 1.0,
    "training.precision": "fp16",
    "training.checkpoint.keep": 3,
    "evaluation.micro_batch": 16,
    "evaluation.early_stopping.patience": "5 evaluations",
    "evaluation.early_stopping.min_delta": 0.01,
    "hardware.device": "cuda",
    "hardware.gpus": 1,
    "tracking.tensorboard": True,
}
# value of the seed, ours; the reasons stand in the job file and in docs/coming-from-paleobert.md
CHANGED = {
    "objective.unit": ("token", "word"),
    "training.schedule.warmup": ("10000 steps", "0.06"),
    "training.log_every": ("100 steps", "10 steps"),
    "training.checkpoint.every": ("10000 steps", "100 steps"),
    "evaluation.every": ("2000 steps", "100 steps"),
    "evaluation.best": ("loss", "rare_token_perplexity"),
    "evaluation.early_stopping.metric": ("loss", "rare_token_perplexity"),
    "data.layout": ("lines", "pack"),
}


def test_the_seeds_values_are_kept_or_changed_as_the_tables_say():
    job = job_of("paleo_dapt")
    assert isinstance(job.data, JsonlData)
    assert isinstance(job.data.tokenizer, PretrainedTokenizer)
    assert isinstance(job.model.init, PretrainedInit)
    assert values(job, KEPT) == KEPT
    assert values(job, CHANGED) == {path: ours for path, (_, ours) in CHANGED.items()}
    assert all(seeds != ours for seeds, ours in CHANGED.values())


@pytest.mark.parametrize("path", [*KEPT, *CHANGED])
def test_every_value_of_the_tables_has_its_line_in_the_document(path):
    assert stands_in(DOCUMENT, path)


def test_no_head_starts_at_random_in_the_full_job():
    assert job_of("paleo_dapt").model.allow_new == ()


def test_the_tiny_twin_takes_every_part_of_the_full_job_along():
    full, tiny = job_of("paleo_dapt"), job_of("tiny/paleo_dapt")
    assert isinstance(tiny.model.init, ScratchDebertaV2)
    assert (tiny.objective, tiny.training.optimizer) == (full.objective, full.training.optimizer)
    assert tiny.evaluation.best == full.evaluation.best == "rare_token_perplexity"
    assert tiny.evaluation.early_stopping == full.evaluation.early_stopping
    assert isinstance(tiny.data, JsonlData)
    assert (tiny.data.path, list(tiny.data.tokenizer.terms)) == (("sample:paleo",), ["taxa", "chrono_units", "rocks"])
    assert (tiny.hardware.device, tiny.hardware.ranks, tiny.training.precision) == ("cpu", 1, "fp32")
