"""The jobs for MPNet: each of the seed's values that they keep or change, and every option of its programs in the
document that speaks of them, typed from its documents and scripts."""

import pytest

from runjob.runner.estimate import count_parameters
from runjob.schemas.job_data import HubData, PretrainedTokenizer, TrainedWordPiece
from runjob.schemas.job_model import PermutedLM, ScratchMPNet
from tests.worker.seed_tables import ROOT, job_of, stands_in, values

DOCUMENT = "coming-from-annotated-mpnet.md"

KEPT = {
    "seed": 12345,
    "data.path": "gair-prox/DCLM-pro",
    "data.field": "text",
    "data.streaming": True,
    "data.block_documents": 10000,
    "data.split.validation": 500,
    "data.split.test": 500,
    "data.min_length": 64,
    "data.sequence_length": 512,
    "data.layout": "lines",
    "data.long_documents": "truncate",
    "data.tokenizer.path": "microsoft/mpnet-base",
    "model.init.num_hidden_layers": 12,
    "model.init.hidden_size": 768,
    "model.init.intermediate_size": 3072,
    "model.init.num_attention_heads": 12,
    "model.init.max_position_embeddings": 512,
    "model.init.dropout": 0.1,
    "model.init.attention_dropout": 0.1,
    "model.init.activation_dropout": 0.1,
    "model.init.vocabulary_multiple": 128,
    "objective.unit": "word",
    "objective.probability": 0.15,
    "objective.replace.mask": 0.8,
    "objective.replace.random": 0.1,
    "objective.replace.keep": 0.1,
    "training.length": "100000 steps",
    # 16 rows at a time, 8 times
    "training.global_batch": 128,
    "training.micro_batch": 16,
    "training.gradient_checkpointing": False,
    "training.learning_rate": 6e-4,
    "training.schedule.kind": "polynomial",
    "training.schedule.power": 1.0,
    "training.schedule.warmup": "1000 steps",
    "training.schedule.final": 0.0,
    "training.optimizer.betas": (0.9, 0.98),
    "training.optimizer.eps": 1e-6,
    "training.optimizer.weight_decay": 0.01,
    "training.gradient_clipping": 1.0,
    "training.precision": "bf16",
    "training.compile": False,
    "training.log_every": "25 steps",
    "training.checkpoint.every": "2500 steps",
    "training.checkpoint.keep": "all",
    "evaluation.every": "2500 steps",
    "evaluation.best": "loss",
    "hardware.device": "cuda",
    "hardware.gpus": 1,
    "tracking.tensorboard": True,
}
# `--x` of the two programs
OPTIONS = """
encoder-layers encoder-embed-dim encoder-ffn-dim encoder-attention-heads dropout attention-dropout activation-dropout
tokenizer-name max-positions max-tokens relative-attention-num-buckets relative-attention-max-distance activation-fn
normalize-before train-dir valid-file test-file dataset-name text-field buffer-size eval-samples eval-interval-steps
min-text-length total-updates warmup-updates batch-size update-freq gradient-checkpointing beta1 beta2 weight-decay
clip-grad-norm lr end-learning-rate adam-eps power checkpoint-interval save_steps save-steps keep-checkpoints
checkpoint-dir tensorboard-log-dir logging-steps logging_steps debug seed num-workers compile resume resume-checkpoint
trust-checkpoint hf-model-path save-optimizer-state wandb wandb-project wandb-name wandb-id wandb-watch
mpnet-checkpoint-path hf-model-folder-path no-save-tokenizer
"""


def test_the_seeds_values_are_kept_as_the_table_says():
    job = job_of("mpnet_100k")
    assert isinstance(job.data, HubData)
    assert isinstance(job.data.tokenizer, PretrainedTokenizer)
    assert isinstance(job.model.init, ScratchMPNet)
    found = values(job, KEPT)
    assert found == KEPT


@pytest.mark.parametrize("path", KEPT)
def test_every_value_of_the_table_has_its_line_in_the_document(path):
    assert stands_in(DOCUMENT, path)


@pytest.mark.parametrize("option", OPTIONS.split())
def test_every_option_stands_in_the_first_column_of_a_table(option):
    lines = (ROOT / "docs" / DOCUMENT).read_text(encoding="utf-8").splitlines()
    cells = [line.split(" | ") for line in lines if line.startswith("| ")]
    [found] = [cell for cell in cells if f"`--{option}`" in cell[0]]
    assert len(found) == 3 and all(found)


def test_the_plan_knows_the_parameters_of_the_full_job_without_network():
    """microsoft/mpnet-base has 109,518,527 with its masked head; 65 rows and biases fill the table up to 30,592."""
    assert count_parameters(job_of("mpnet_100k")) == 109_518_527 + 65 * 769


def test_the_tiny_twin_takes_every_part_of_the_full_job_along():
    full, tiny = job_of("mpnet_100k"), job_of("tiny/mpnet")
    assert isinstance(full.objective, PermutedLM)
    assert (tiny.objective, tiny.training.optimizer) == (full.objective, full.training.optimizer)
    assert isinstance(tiny.model.init, ScratchMPNet) and isinstance(full.model.init, ScratchMPNet)
    assert tiny.model.init.vocabulary_multiple == full.model.init.vocabulary_multiple == 128
    assert isinstance(tiny.data.tokenizer, TrainedWordPiece)
    assert (tiny.data.tokenizer.marks, tiny.data.layout, tiny.data.min_length) == ("mpnet", "lines", 64)
    assert tiny.evaluation.best == full.evaluation.best == "loss"
    assert (tiny.seed, tiny.hardware.device, tiny.hardware.ranks) == (full.seed, "cpu", 1)
