"""One rank of a small engine, for test_stages_and_ranks: `save` trains three steps and writes a checkpoint, `load` puts
that checkpoint into an engine of another stage; both print the sha256 of every tensor that they gather."""

import hashlib
import json
import sys
from pathlib import Path

import torch
from torch import distributed

from runjob.data.batches import MicroBatch
from runjob.data.store import TokenizerSummary
from runjob.runner.worker.assemble import load_weights, restore_optimizer
from runjob.runner.worker.checkpoint import Writer, open_checkpoint
from runjob.runner.worker.copies import Copies
from runjob.runner.worker.engine import Engine, start_process_group
from runjob.runner.worker.models.causal_lm import CausalLMObjective
from runjob.runner.worker.models.init import build_network
from runjob.runner.worker.optimizer_state import adam_step, gather
from runjob.runner.worker.state import TrainingState
from runjob.schemas.job_model import Model, ScratchGpt2
from runjob.schemas.manifest import folder_name
from runjob.schemas.run import RunDir

STEPS, LENGTH = 3, 16
# Odd sizes: no tensor of them is a multiple of the ranks
INIT = ScratchGpt2(
    kind="scratch",
    architecture="gpt2",
    hidden_size=30,
    num_hidden_layers=2,
    num_attention_heads=3,
    intermediate_size=77,
    max_position_embeddings=LENGTH,
    dropout=0.0,
)


def main(verb: str, folder: Path, zero: int) -> None:
    torch.set_num_threads(1)
    start_process_group()
    rank, ranks = distributed.get_rank(), distributed.get_world_size()
    run = RunDir(folder)
    run.checkpoints.mkdir(exist_ok=True)
    words = TokenizerSummary(
        fingerprint="", vocab_size=101, eos_id=0, pad_id=None, cls_id=None, sep_id=None, mask_id=None
    )
    network, _ = build_network(Model(init=INIT, allow_new=()), "clm", tokenizer=words, seed=1)
    if verb == "load":
        checkpoint = open_checkpoint(run.checkpoints / folder_name(STEPS))
        load_weights(network, checkpoint)
    config = folder / f"deepspeed-{rank}.json"
    config.write_text(json.dumps(deepspeed_config(zero, ranks)))
    engine = Engine(CausalLMObjective(network), config, ranks=ranks, compiled=False)
    if verb == "load":
        restore_optimizer(engine, checkpoint)
    else:
        train(engine, rank)
    tensors = list(gather(engine.deepspeed, engine.stage, Copies()))
    if rank == 0:
        if verb == "save":
            writer = Writer(run, STEPS)
            for tensor in tensors:
                writer.add(tensor)
            optimizer = {"adam_step": adam_step(engine.deepspeed, engine.stage), "loss_scaler": None}
            writer.finish(TrainingState(step=STEPS), identity={}, optimizer=optimizer)
        kinds = ("weight", "exp_avg", "exp_avg_sq")
        digests = {f"{one.name}/{kind}": digest(getattr(one, kind)) for one in tensors for kind in kinds}
        print(json.dumps(digests), flush=True)
    distributed.barrier()
    distributed.destroy_process_group()


def deepspeed_config(zero: int, ranks: int) -> dict[str, object]:
    params = {"lr": 1e-2, "betas": [0.9, 0.95], "weight_decay": 0.1, "torch_adam": True, "fused": True}
    return {
        "train_batch_size": 4,
        "train_micro_batch_size_per_gpu": 4 // ranks,
        "gradient_accumulation_steps": 1,
        "optimizer": {"type": "AdamW", "params": params},
        "zero_optimization": {"stage": zero},
    }


def train(engine: Engine, rank: int) -> None:
    for step in range(STEPS):
        generator = torch.Generator().manual_seed(step * 10 + rank)
        row = torch.randint(0, 101, (2, LENGTH + 1), generator=generator)
        tensors = {"input_ids": row[:, :-1].contiguous(), "labels": row[:, 1:].contiguous()}
        micro = MicroBatch(tensors=tensors, first_sample=0, predicted=2 * LENGTH, tokens=2 * LENGTH, digests=())
        engine.train_micro_batch(micro, predicted_in_step=4 * LENGTH, last=True, seed=step)
        engine.step(1e-2)


def digest(tensor: torch.Tensor) -> str:
    return hashlib.sha256(tensor.numpy().tobytes()).hexdigest()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
