"""What each fused kernel is worth: steps of one network with torch's own operations and with kernels added one after
another, the variants in turn in one process, so that whatever else the machine does hits all of them. One thread and
its processor time by default: steadier than the clock where cores are shared.

    python benchmarks/fused.py --family bert
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import nn
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM, BertConfig, GPT2Config, ModernBertConfig

from runjob.runner.worker.kernels import families
from runjob.runner.worker.models.causal_lm import CausalLMObjective
from runjob.runner.worker.models.masked_lm import MaskedLMObjective

COMMON = {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12}
PARTS: dict[str, tuple[Callable[[nn.Module], None], ...]] = {
    "torch": (),
    "attention": (families.fuse_attention,),
    "attention, dropout": (families.fuse_attention, families.fuse_dropouts),
    "and norms": (families.fuse_attention, families.fuse_dropouts, families.fuse_residuals, families.fuse_norms),
    "all": (families.install,),
}


def build(family: str, *, length: int, dropout: float) -> nn.Module:
    torch.manual_seed(0)
    match family:
        case "bert":
            sizes = {**COMMON, "intermediate_size": 1536, "vocab_size": 30522, "max_position_embeddings": length}
            drops = {"hidden_dropout_prob": dropout, "attention_probs_dropout_prob": dropout}
            return MaskedLMObjective(AutoModelForMaskedLM.from_config(BertConfig(**sizes, **drops)))
        case "modernbert":
            drops = {name: dropout for name in ("embedding_dropout", "attention_dropout", "mlp_dropout")}
            config = ModernBertConfig(**COMMON, intermediate_size=768, vocab_size=30522, **drops)
            return MaskedLMObjective(AutoModelForMaskedLM.from_config(config, attn_implementation="sdpa"))
        case _:
            drops = {name: dropout for name in ("embd_pdrop", "attn_pdrop", "resid_pdrop")}
            sizes = {"n_embd": 384, "n_layer": 6, "n_head": 12, "n_positions": length, "vocab_size": 50257}
            config = GPT2Config(**sizes, **drops, activation_function="gelu_pytorch_tanh")
            return CausalLMObjective(AutoModelForCausalLM.from_config(config, attn_implementation="sdpa"))


def batch(family: str, *, rows: int, length: int) -> dict[str, torch.Tensor]:
    """Rows as lines of English fill them: three in four are full, the others half (shared by all variants)."""
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(5, 30000, (rows, length), generator=generator)
    if family == "gpt2":
        return {"input_ids": ids, "labels": ids.roll(-1, 1)}
    mask = torch.ones_like(ids)
    mask[: rows // 4, length // 2 :] = 0
    hidden = (torch.rand(ids.shape, generator=generator) < 0.3) & (mask > 0)
    return {"input_ids": ids, "attention_mask": mask, "labels": ids.masked_fill(~hidden, -100)}


def step(module: nn.Module, optimizer: torch.optim.Optimizer, tensors: dict[str, torch.Tensor]) -> float:
    with torch.autocast("cpu", torch.bfloat16):
        answer = module(**tensors)
    (answer.loss_sum / answer.predicted).backward()
    torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()
    return float(answer.loss_sum / answer.predicted)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--family", choices=("bert", "modernbert", "gpt2"), default="bert")
    parser.add_argument("--rows", type=int, default=16)
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--dropout", type=float, default=0.1)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    clock = time.process_time if given.threads == 1 else time.perf_counter
    tensors = batch(given.family, rows=given.rows, length=given.length)
    variants, losses = {}, {}
    for name, parts in PARTS.items():
        module = build(given.family, length=given.length, dropout=given.dropout)
        for part in parts:
            part(module if part is not families.install and part is not families.fuse_attention else module.network)
        variants[name] = (module.train(), torch.optim.AdamW(module.parameters(), lr=1e-4, fused=True))
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for turn in range(given.rounds + 1):
        for name, (module, optimizer) in variants.items():
            torch.manual_seed(turn)
            began = clock()
            losses[name] = step(module, optimizer, tensors)
            if turn:  # the first is for warming up
                seconds[name].append(clock() - began)
    print(f"{given.family}, {given.rows} x {given.length}, dropout {given.dropout}, {given.threads} threads")
    print(f"| variant | s a step, median | times as fast, median of turns | loss after {given.rounds + 1} steps |")
    print("|---|---|---|---|")
    for name, own in seconds.items():
        ratios = [base / one for base, one in zip(seconds["torch"], own, strict=True)]
        print(f"| {name} | {statistics.median(own):.3f} | {statistics.median(ratios):.2f} | {losses[name]:.4f} |")


if __name__ == "__main__":
    main()
