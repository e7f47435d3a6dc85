"""The shipped jobs: their networks to the last parameter, and each of the seed's values that they keep or change."""

import pytest
import torch
from transformers import GPT2LMHeadModel

from runjob.runner.worker.models.configs import gpt2_config
from runjob.schemas.job_data import PretrainedTokenizer
from runjob.schemas.job_model import ScratchGpt2
from tests.worker.seed_tables import JOBS, job_of, values

# len(tokenizer) of openai-community/gpt2
GPT2_VOCABULARY = 50_257

# What the seed system's documents and scripts say of its three sizes, typed from them:
#        hidden, layers, heads, positions, parameters
SIZES = {
    "small": (768, 12, 12, 1024, 124_439_808),
    "medium": (1024, 24, 16, 1024, 354_823_168),
    "large": (1280, 36, 20, 1024, 774_030_080),
}
KEPT = {
    "data.path": "BramVanroy/wikipedia_culturax_dutch",
    "data.sequence_length": 1024,
    "data.tokenizer.path": "openai-community/gpt2",
    "data.split.validation": 0.002,
    "model.init.dropout": 0.1,
    "training.length": "1 epoch",
    "training.schedule.kind": "cosine",
    "training.schedule.warmup": "0.05",
    "training.gradient_clipping": 1.0,
    "training.checkpoint.keep": 3,
    # the seed's 100 count the prompt too
    "evaluation.generation.max_new_tokens": 100,
    "evaluation.generation.temperature": 0.9,
    "evaluation.generation.top_k": 50,
    "evaluation.generation.top_p": 0.95,
    "hardware.device": "cuda",
    "hardware.gpus": "all",
}
# value of the seed, ours; the reasons stand in the job files
CHANGED = {
    "training.learning_rate": (5e-5, {"small": 6e-4, "medium": 3e-4, "large": 2.5e-4}),
    "training.global_batch": (8, 512),
    "training.optimizer.weight_decay": (0.01, 0.1),
    "training.optimizer.betas": ((0.9, 0.999), (0.9, 0.95)),
    "training.precision": ("fp16", "bf16"),
    "training.schedule.final": (0.0, 0.1),
    "training.checkpoint.every": ("5000 steps", "250 steps"),
    "evaluation.every": ("500 steps", "250 steps"),
    "training.log_every": ("100 steps", "10 steps"),
    "data.config": ("1M", "1B"),
    "evaluation.best": (None, "loss"),
}


def _parameters(init: ScratchGpt2, vocab_size: int) -> int:
    with torch.device("meta"):
        network = GPT2LMHeadModel(gpt2_config(init, vocab_size=vocab_size, eos_id=0))
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize("size", SIZES)
def test_the_three_sizes_are_gpt2s_to_the_last_parameter(size):
    job = job_of(f"gpt2_dutch_{size}")
    init = job.model.init
    hidden, layers, heads, positions, parameters = SIZES[size]
    assert (init.hidden_size, init.num_hidden_layers, init.num_attention_heads) == (hidden, layers, heads)
    assert init.max_position_embeddings == positions
    assert _parameters(init, GPT2_VOCABULARY) == parameters
    assert f"{parameters:,} parameters" in (JOBS / f"gpt2_dutch_{size}.yaml").read_text()


@pytest.mark.parametrize("size", SIZES)
def test_the_seeds_values_are_kept_or_changed_as_the_tables_say(size):
    job = job_of(f"gpt2_dutch_{size}")
    assert values(job, KEPT) == KEPT
    ours = {path: value[size] if isinstance(value, dict) else value for path, (_, value) in CHANGED.items()}
    assert values(job, CHANGED) == ours
    assert all(seeds != ours[path] for path, (seeds, _) in CHANGED.items())
    assert isinstance(job.data.tokenizer, PretrainedTokenizer)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("gpus", [1, 2, 4, 8])
def test_every_usual_number_of_gpus_takes_the_same_steps(size, gpus):
    training = job_of(f"gpt2_dutch_{size}").training
    assert training.global_batch % (training.micro_batch * gpus) == 0


def test_the_tiny_twin_is_small_offline_and_measured_against_counting():
    job = job_of("tiny/gpt2_dutch")
    assert 0.9e6 < _parameters(job.model.init, job.data.tokenizer.vocab_size) < 1.5e6
    assert (job.data.path, job.data.tokenizer.kind) == (("sample:dutch",), "train")
    assert (job.hardware.device, job.hardware.ranks, job.training.precision) == ("cpu", 1, "fp32")
    assert (job.evaluation.baseline, job.evaluation.best) == ("interpolated_bigram", "loss")


@pytest.mark.parametrize("path", sorted(JOBS.rglob("*.yaml")), ids=lambda path: path.stem)
def test_an_editor_finds_the_schema_from_the_first_line(path):
    first = path.read_text(encoding="utf-8").splitlines()[0]
    prefix = "# yaml-language-server: $schema="
    assert first.startswith(prefix)
    assert (path.parent / first.removeprefix(prefix)).resolve() == (
        JOBS.parent / "schemas" / "runjob-job.v1.schema.json"
    )
    assert (JOBS.parent / "schemas" / "runjob-job.v1.schema.json").is_file()
