"""How fast a model writes: prefill and decode in tokens per second, ours beside transformers' `generate`.

Both continue the same rows of random tokens with the same settings and never stop early; repeats alternate between the
two, so that a busy moment of the machine hits both, and the median counts.
"""

import copy
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch
from transformers import GenerationConfig, PreTrainedModel

from runjob.runner.worker.sampling import Sampling, continue_prompts

BATCHES = (1, 8)
REPEATS = 5
# GPT-2 small at batch 1 on a CPU core decodes some 20 tokens a second: 64 tokens keep all of it under two minutes.
NEW_TOKENS = 64
PROMPT_TOKENS = 512


@dataclass(frozen=True, kw_only=True)
class Speed:
    """Tokens per second of one batch size: prompt tokens read, new tokens written, ours and transformers'."""

    batch: int
    prompt_tokens: int
    new_tokens: int
    prefill: float
    decode: float
    transformers_prefill: float
    transformers_decode: float

    def __str__(self) -> str:
        return (
            f"batch {self.batch}: prefill {self.prefill:,.0f} tokens/s ({self.prompt_tokens} a row), "
            f"decode {self.decode:,.1f} tokens/s ({self.new_tokens} a row); transformers generate: "
            f"prefill {self.transformers_prefill:,.0f}, decode {self.transformers_decode:,.1f} "
            f"(decode ratio {self.decode / self.transformers_decode:.2f})"
        )


def measure_speed(network: PreTrainedModel, sampling: Sampling) -> list[Speed]:
    """A row for each batch size. The first token's time is the prefill; decode is what the further ones add."""
    positions = network.config.max_position_embeddings
    prompt_tokens = min(PROMPT_TOKENS, positions // 2)
    new_tokens = min(NEW_TOKENS, positions - prompt_tokens)
    return [_measure(network, replace(sampling, max_new_tokens=new_tokens), batch, prompt_tokens) for batch in BATCHES]


def _measure(network: PreTrainedModel, sampling: Sampling, batch: int, prompt_tokens: int) -> Speed:
    generator = torch.Generator().manual_seed(sampling.seed)
    rows = torch.randint(network.config.vocab_size, (batch, prompt_tokens), generator=generator)
    prompts, on_device = rows.tolist(), rows.to(network.device)
    mask = torch.ones_like(on_device)
    first = replace(sampling, max_new_tokens=1)

    def ours(settings: Sampling) -> None:
        continue_prompts(network, prompts, settings, eos_id=None)

    def theirs(peer: PreTrainedModel) -> None:
        peer.generate(on_device, attention_mask=mask)

    one, whole, their_one, their_whole = alternate(
        network.device,
        partial(ours, first),
        partial(ours, sampling),
        partial(theirs, _without_end(network, first)),
        partial(theirs, _without_end(network, sampling)),
    )
    read, written = batch * prompt_tokens, batch * (sampling.max_new_tokens - 1)
    return Speed(
        batch=batch,
        prompt_tokens=prompt_tokens,
        new_tokens=sampling.max_new_tokens,
        prefill=read / one,
        decode=written / (whole - one),
        transformers_prefill=read / their_one,
        transformers_decode=written / (their_whole - their_one),
    )


def _without_end(network: PreTrainedModel, sampling: Sampling) -> PreTrainedModel:
    """The same network (its tensors shared) whose `generate` uses the settings and knows no EOS."""
    theirs = copy.copy(network)
    sampled = {"temperature": sampling.temperature, "top_k": sampling.top_k, "top_p": sampling.top_p}
    theirs.generation_config = GenerationConfig(
        max_new_tokens=sampling.max_new_tokens,
        eos_token_id=None,
        pad_token_id=0,
        do_sample=sampling.temperature > 0,
        **(sampled if sampling.temperature > 0 else {}),
    )
    return theirs


def alternate(device: torch.device, *calls: Callable[[], object]) -> list[float]:
    """Median seconds of each call; the first round only warms up."""
    seconds: list[list[float]] = [[] for _ in calls]
    with torch.inference_mode():
        for _ in range(REPEATS + 1):
            for call, times in zip(calls, seconds, strict=True):
                begin = time.perf_counter()
                call()
                if device.type == "cuda":
                    torch.cuda.synchronize(device)
                times.append(time.perf_counter() - begin)
    return [statistics.median(times[1:]) for times in seconds]
