"""How long training stands still for a checkpoint: in turns, round after round in one process, a save that the loop
writes itself, one that a thread writes from a new copy, and one that it writes from a copy in memory that is kept.

    python benchmarks/saving.py [--layers 12 --hidden 768 --vocabulary 50257] [--tokens 128] [--rounds 3] [--zero 0]
    torchrun --standalone --nproc-per-node 2 benchmarks/saving.py --zero 2

Weights are random (GPT-2 small unless told otherwise), the steps short, so that a stall has nowhere to hide. Needs 28
bytes a parameter of main memory, and 24 of the disk of --folder.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import torch
from torch import distributed

from runjob.data.batches import MicroBatch
from runjob.data.store import TokenizerSummary
from runjob.runner.worker.checkpoint import Writer
from runjob.runner.worker.copies import Copies
from runjob.runner.worker.engine import Engine, start_process_group
from runjob.runner.worker.models.causal_lm import CausalLMObjective
from runjob.runner.worker.models.init import build_network
from runjob.runner.worker.optimizer_state import gather
from runjob.runner.worker.state import TrainingState
from runjob.runner.worker.writing import Snapshot, Writing
from runjob.schemas.job_model import Model, ScratchGpt2
from runjob.schemas.run import RunDir

ALONE = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}
PLAIN_STEPS = 5
Times = dict[str, list[float]]


class Bench:
    """One rank's engine, and what a step and a save of it take."""

    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        self.tokens, self.vocabulary = options.tokens, options.vocabulary
        self.run = RunDir.create(folder, "saving")
        self.step_number = 0
        init = ScratchGpt2(
            kind="scratch",
            architecture="gpt2",
            hidden_size=options.hidden,
            num_hidden_layers=options.layers,
            num_attention_heads=options.hidden // 64,
            intermediate_size=None,
            max_position_embeddings=1024,
            dropout=0.1,
        )
        words = TokenizerSummary(
            fingerprint="", vocab_size=self.vocabulary, eos_id=0, pad_id=None, cls_id=None, sep_id=None, mask_id=None
        )
        network, report = build_network(Model(init=init, allow_new=()), "clm", tokenizer=words, seed=1)
        self.parameters = report.parameters
        config = folder / f"deepspeed-{distributed.get_rank()}.json"
        config.write_text(json.dumps(deepspeed_config(options.zero)), encoding="utf-8")
        ranks = distributed.get_world_size()
        self.engine = Engine(CausalLMObjective(network), config, ranks=ranks, compiled=False)
        self.kept = Copies()
        self.writing = Writing(self.run, sync_journal=lambda: None)

    def step(self) -> float:
        self.step_number += 1
        generator = torch.Generator().manual_seed(self.step_number)
        row = torch.randint(0, self.vocabulary, (1, self.tokens + 1), generator=generator)
        tensors = {"input_ids": row[:, :-1].contiguous(), "labels": row[:, 1:].contiguous()}
        micro = MicroBatch(tensors=tensors, first_sample=0, predicted=self.tokens, tokens=self.tokens, digests=())
        began = time.perf_counter()
        predicted = self.tokens * distributed.get_world_size()
        self.engine.train_micro_batch(micro, predicted_in_step=predicted, last=True, seed=self.step_number)
        self.engine.gradient_norm()
        self.engine.step(1e-4)
        return time.perf_counter() - began

    def written_by_the_loop(self) -> dict[str, float]:
        began = time.perf_counter()
        writer = Writer(self.run, self.step_number) if distributed.get_rank() == 0 else None
        for tensor in gather(self.engine.deepspeed, self.engine.stage, Copies()):
            if writer is not None:
                writer.add(tensor)
        if writer is not None:
            writer.finish(TrainingState(step=self.step_number), identity={}, optimizer={})
        distributed.barrier()
        seconds = time.perf_counter() - began
        return {"stall": seconds, "written": seconds}

    def written_by_a_thread(self, copies: Copies) -> dict[str, float]:
        """The stall, and how long writing took while steps went on, and how long those steps took."""
        began = time.perf_counter()
        tensors = tuple(gather(self.engine.deepspeed, self.engine.stage, copies))
        if distributed.get_rank() == 0:
            state = TrainingState(step=self.step_number)
            snapshot = Snapshot(
                tensors=tensors, state=state, identity={}, optimizer={}, keep=1, stalled_s=time.perf_counter() - began
            )
            self.writing.begin(snapshot)
        stall = time.perf_counter() - began
        del tensors
        steps = [self.step()]
        while self.goes_on():
            steps.append(self.step())
        written = self.writing.result()
        took = written.written_s if written is not None else float("nan")
        return {"stall": stall, "written": took, "step": statistics.mean(steps)}

    def goes_on(self) -> bool:
        """Is rank 0 still writing? All ranks must make the same steps."""
        writes = distributed.get_rank() == 0 and not self.writing.has_ended()
        answer = torch.tensor([float(writes)])
        distributed.all_reduce(answer)
        return bool(answer.item())


def deepspeed_config(zero: int) -> dict[str, object]:
    params = {"lr": 1e-4, "betas": [0.9, 0.95], "weight_decay": 0.1, "torch_adam": True, "fused": True}
    return {
        "train_batch_size": distributed.get_world_size(),
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "optimizer": {"type": "AdamW", "params": params},
        "zero_optimization": {"stage": zero},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--hidden", type=int, default=768)
    parser.add_argument("--vocabulary", type=int, default=50257)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--zero", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=None)
    options = parser.parse_args()
    os.environ.update({name: value for name, value in ALONE.items() if name not in os.environ})
    os.environ["DS_ACCELERATOR"] = "cpu"
    torch.set_num_threads(options.threads)
    start_process_group()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        measure(Bench(options, Path(folder)), options.rounds)
    distributed.barrier()
    distributed.destroy_process_group()


def measure(bench: Bench, rounds: int) -> None:
    found: dict[str, Times] = defaultdict(lambda: defaultdict(list))
    bench.step()
    for _ in range(rounds):
        found["no save"]["step"] += [bench.step() for _ in range(PLAIN_STEPS)]
        for name, save in (
            ("the loop writes", bench.written_by_the_loop),
            ("a thread writes, new memory", lambda: bench.written_by_a_thread(Copies())),
            ("a thread writes, kept memory", lambda: bench.written_by_a_thread(bench.kept)),
        ):
            for what, seconds in save().items():
                found[name][what].append(seconds)
            bench.step()
    if distributed.get_rank() == 0:
        report(bench, found, rounds)


def report(bench: Bench, found: dict[str, Times], rounds: int) -> None:
    size = 12 * bench.parameters / 1e9
    print(f"{bench.parameters:,} parameters, {size:.2f} GB a checkpoint, steps of {bench.tokens} tokens a rank")
    print(f"medians of {rounds} rounds in turns\n")
    print("| | stall, s (range) | in steps | copied, GB/s | written, s | GB/s | step meanwhile, s |")
    print("|---|---|---|---|---|---|---|")
    usual = statistics.median(found["no save"]["step"])
    for name, times in found.items():
        step = f"{statistics.median(times['step']):.2f}" if "step" in times else ""
        if "stall" not in times:
            print(f"| {name} | | | | | | {step} |")
            continue
        stall, written = statistics.median(times["stall"]), statistics.median(times["written"])
        rate = f"{size / stall:.2f}" if step else ""
        ends = f"{min(times['stall']):.2f} to {max(times['stall']):.2f}"
        print(f"| {name} | {stall:.2f} ({ends}) | {stall / usual:.2f} | {rate} | {written:.1f} |", end="")
        print(f" {size / written:.2f} | {step} |")


if __name__ == "__main__":
    main()
