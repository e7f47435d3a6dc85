"""Going on from prompts: a loop of our own around the network and its key-value cache.

    prompts (token ids) -> padded on the left -> prefill -> [ pick a token a row -> feed it back ] until EOS or a limit

Each prompt draws its numbers from a generator of its own, seeded alike, one number a token, and a token is the place
where that number falls in the cumulated probabilities of the allowed tokens. So a prompt's text depends on the seed
alone: not on its neighbours in the batch, and a shorter text is the beginning of a longer one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import torch
from transformers import DynamicCache, PreTrainedModel

from runjob.runner.worker.models.gpt2_steps import Gpt2Steps, fits
from runjob.schemas.errors import JobError, NumericsError

Ended = Literal["eos", "length", "positions"]


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How tokens are picked: temperature 0 takes the likeliest; top_k 0 and top_p 1 allow all."""

    max_new_tokens: int
    temperature: float
    top_k: int
    top_p: float
    seed: int


@dataclass(frozen=True, kw_only=True)
class Continuation:
    """The new tokens (an ending EOS left out) and why there are no more."""

    tokens: tuple[int, ...]
    ended: Ended


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Prompts of a batch, padded on the left so that every row's next token stands in the last column."""

    input_ids: torch.Tensor
    attention_mask: torch.Tensor | None  # None where no row is padded: the fast attention path needs no mask
    lengths: torch.Tensor


@torch.inference_mode()
def continue_prompts(
    network: PreTrainedModel, prompts: Sequence[Sequence[int]], sampling: Sampling, *, eos_id: int | None
) -> list[Continuation]:
    """One continuation a prompt. The network should be in eval mode; rows end at EOS, at `max_new_tokens`, or where
    the network has no more positions."""
    positions = network.config.max_position_embeddings
    limits = [_room(prompt, positions, sampling.max_new_tokens) for prompt in prompts]
    batch = pad_left(prompts, device=network.device)
    draws = _draws(len(prompts), max(limits), sampling, network.device)
    cache = DynamicCache(config=network.config)
    logits, mask = prefill(network, batch, cache), batch.attention_mask
    steps = open_steps(network, cache, places=batch.input_ids.shape[1] + max(limits))
    new: list[list[int]] = [[] for _ in prompts]
    ended: list[Ended | None] = [None for _ in prompts]
    for index in range(max(limits)):
        picked = pick(logits, sampling, draws[:, index])
        for row, token in enumerate(picked.tolist()):
            if ended[row] is None:
                ended[row] = _append(new[row], token, eos_id=eos_id, limit=limits[row], wanted=sampling.max_new_tokens)
        if all(ended):
            break
        mask = None if mask is None else torch.nn.functional.pad(mask, (0, 1), value=1)
        logits = steps.step(picked, (batch.lengths + index).clamp(max=positions - 1), mask).float()
    return [Continuation(tokens=tuple(t), ended=e or "length") for t, e in zip(new, ended, strict=True)]


def pad_left(prompts: Sequence[Sequence[int]], *, device: torch.device) -> Batch:
    lengths = [len(prompt) for prompt in prompts]
    width = max(lengths)
    # Padded columns are masked, so any id will do.
    ids = torch.tensor([[0] * (width - len(prompt)) + list(prompt) for prompt in prompts], device=device)
    counts = torch.tensor(lengths, device=device)
    mask = (torch.arange(width, device=device) >= (width - counts)[:, None]).long()
    return Batch(input_ids=ids, attention_mask=None if min(lengths) == width else mask, lengths=counts)


def prefill(network: PreTrainedModel, batch: Batch, cache: DynamicCache) -> torch.Tensor:
    """Logits [rows, vocabulary] of the token after each prompt; the head is computed for that column alone."""
    width = batch.input_ids.shape[1]
    columns = torch.arange(width, device=batch.input_ids.device)
    answer = network(
        input_ids=batch.input_ids,
        attention_mask=batch.attention_mask,
        position_ids=(columns - (width - batch.lengths)[:, None]).clamp(min=0),
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    )
    logits: torch.Tensor = answer.logits[:, -1].float()
    return logits


class Steps(Protocol):
    """A network that has read its prompts and goes on."""

    def step(self, tokens_R: torch.Tensor, at_R: torch.Tensor, seen_RS: torch.Tensor | None) -> torch.Tensor:
        """Logits [rows, vocabulary] after one more token a row, which stands at `at_R` of its text; `seen_RS`: which
        places of the rows are tokens, where some are padding."""
        ...


def open_steps(network: PreTrainedModel, cache: DynamicCache, *, places: int) -> Steps:
    """`places`: what a row may become long."""
    if fits(network):
        return Gpt2Steps(network, cache, places=places)
    return AnySteps(network=network, cache=cache)


@dataclass(frozen=True, kw_only=True)
class AnySteps:
    """As transformers does it, for every family."""

    network: PreTrainedModel
    cache: DynamicCache

    def step(self, tokens_R: torch.Tensor, at_R: torch.Tensor, seen_RS: torch.Tensor | None) -> torch.Tensor:
        answer = self.network(
            input_ids=tokens_R[:, None],
            attention_mask=seen_RS,
            position_ids=at_R[:, None],
            past_key_values=self.cache,
            use_cache=True,
        )
        logits: torch.Tensor = answer.logits[:, -1]
        return logits


def pick(logits: torch.Tensor, sampling: Sampling, draws: torch.Tensor) -> torch.Tensor:
    """One token a row from logits [rows, vocabulary] and numbers in [0, 1)."""
    if sampling.temperature == 0:
        likeliest, tokens = logits.max(dim=-1)
        _refuse_nan(likeliest)
        return tokens
    kept = min(sampling.top_k or logits.shape[-1], logits.shape[-1])
    scores, tokens = logits.topk(kept, dim=-1)  # sorted, likeliest first
    _refuse_nan(scores[:, 0])
    # float64: with 50,000 candidates an fp32 sum already misses draws near 1.
    probabilities = torch.softmax(scores.double() / sampling.temperature, dim=-1)
    reached = probabilities.cumsum(dim=-1)
    # A token is allowed while those before it have not reached top_p: the likeliest always is.
    allowed = (reached - probabilities) < sampling.top_p
    cumulated = (probabilities * allowed).cumsum(dim=-1)
    place = torch.searchsorted(cumulated, draws[:, None] * cumulated[:, -1:], right=True)
    place = torch.minimum(place, allowed.sum(dim=-1, keepdim=True) - 1)
    return tokens.gather(1, place)[:, 0]


def _room(prompt: Sequence[int], positions: int, wanted: int) -> int:
    if not prompt:
        raise JobError("the prompt is empty; type at least one character")
    if len(prompt) >= positions:
        raise JobError(f"the prompt has {len(prompt)} tokens and the model {positions} positions; shorten the prompt")
    return min(wanted, positions - len(prompt))


def _draws(rows: int, count: int, sampling: Sampling, device: torch.device) -> torch.Tensor:
    one = np.random.Generator(np.random.Philox(sampling.seed)).random(count)
    # Every row the same numbers: a prompt's text then does not depend on its place in the batch either.
    return torch.from_numpy(one).to(device).expand(rows, count)


def _append(tokens: list[int], token: int, *, eos_id: int | None, limit: int, wanted: int) -> Ended | None:
    if token == eos_id:
        return "eos"
    tokens.append(token)
    if len(tokens) < limit:
        return None
    return "length" if limit == wanted else "positions"


def _refuse_nan(likeliest: torch.Tensor) -> None:
    if not torch.isfinite(likeliest).all():
        raise NumericsError(
            "the model answers NaN or Inf instead of scores: its weights are damaged or training diverged; "
            "try an earlier checkpoint"
        )
