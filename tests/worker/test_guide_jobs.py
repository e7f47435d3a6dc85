"""The jobs for a ModernBERT student: each of the seed's values that they keep or change, typed from its documents."""

import pytest

from runjob.runner.estimate import count_parameters
from runjob.schemas.job_data import PretrainedTokenizer, TextData
from runjob.schemas.job_model import GuideInit
from tests.worker.seed_tables import job_of, stands_in, values

DOCUMENT = "coming-from-guide.md"

KEPT = {
    "seed": 42,
    "data.documents": "line",
    "data.layout": "lines",
    "data.long_documents": "truncate",
    "data.sequence_length": 512,
    "model.init.teacher": "answerdotai/ModernBERT-base",
    "model.init.hidden_size": 384,
    "model.init.num_hidden_layers": 12,
    "model.init.num_attention_heads": 6,
    "model.init.intermediate_size": 768,
    "model.init.max_position_embeddings": 1024,
    "model.init.global_attn_every_n_layers": 3,
    "model.init.local_attention": 128,
    "model.init.layers": "first",
    "model.init.dropout": 0.0,
    "objective.unit": "token",
    "objective.probability": 0.3,
    "objective.replace.mask": 0.8,
    "objective.replace.random": 0.1,
    "objective.replace.keep": 0.1,
    "training.length": "10 epochs",
    # 16 rows at a time, twice
    "training.global_batch": 32,
    "training.micro_batch": 16,
    "training.learning_rate": 8e-4,
    "training.schedule.kind": "cosine",
    "training.schedule.warmup": "1000 steps",
    "training.schedule.final": 0.0,
    "training.optimizer.weight_decay": 0.01,
    # the Trainer's own
    "training.optimizer.betas": (0.9, 0.999),
    "training.optimizer.eps": 1e-8,
    "training.gradient_clipping": 1.0,
    "training.precision": "fp32",
    "training.compile": True,
    "training.gradient_checkpointing": True,
    "training.log_every": "100 steps",
    "training.checkpoint.every": "2500 steps",
    "training.checkpoint.keep": 3,
    "tracking.tensorboard": True,
}
# value of the seed, ours; the reasons stand in the job file and in docs/coming-from-guide.md
CHANGED = {
    "model.init.embedding_scale": ("teacher", "fresh"),
    "data.split.validation": (0.0, 0.01),
    "evaluation.every": ("never", "2500 steps"),
    "evaluation.at_start": (False, True),
    "evaluation.also_hide": ((), (0.15,)),
    "evaluation.best": (None, "loss"),
}


def test_the_seeds_values_are_kept_or_changed_as_the_tables_say():
    job = job_of("modernbert_student")
    assert isinstance(job.model.init, GuideInit)
    assert isinstance(job.data, TextData) and isinstance(job.data.tokenizer, PretrainedTokenizer)
    assert job.data.tokenizer.path == job.model.init.teacher
    assert values(job, KEPT) == KEPT
    assert values(job, CHANGED) == {path: ours for path, (_, ours) in CHANGED.items()}
    assert all(seeds != ours for seeds, ours in CHANGED.values())


@pytest.mark.parametrize("path", [*KEPT, *CHANGED])
def test_every_value_of_the_tables_has_its_line_in_the_document(path):
    assert stands_in(DOCUMENT, path)


def test_the_student_has_the_size_that_was_measured():
    """37.05 million in the body (with the whole vocabulary), as transformers counts it, and the head."""
    job = job_of("modernbert_student")
    head = 384 * 384 + 384 + 50368
    assert count_parameters(job) == 37_045_632 + head


def test_the_tiny_twin_takes_every_part_of_the_full_job_along():
    full, tiny = job_of("modernbert_student"), job_of("tiny/modernbert_student")
    assert isinstance(full.model.init, GuideInit) and isinstance(tiny.model.init, GuideInit)
    assert (tiny.objective, tiny.training.optimizer) == (full.objective, full.training.optimizer)
    assert (tiny.data.layout, tiny.data.long_documents) == (full.data.layout, full.data.long_documents)
    assert tiny.evaluation.also_hide == full.evaluation.also_hide
    assert (tiny.model.init.layers, tiny.model.init.embedding_scale) == ("first", "fresh")
    assert tiny.model.init.teacher == "sample:modernbert_teacher"
    assert tiny.training.schedule.kind == full.training.schedule.kind == "cosine"
    assert (tiny.hardware.device, tiny.hardware.ranks, tiny.training.precision) == ("cpu", 1, "fp32")
