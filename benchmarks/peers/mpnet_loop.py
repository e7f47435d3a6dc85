"""MPNet's permuted language modelling in a loop of its own, as pretraining tools of this kind do it: whole words are
permuted, the last p tokens of each row are predicted, and p is one number for the batch, taken from its shortest row.
Two streams go through the layers, the content and the queries; weights are those of transformers' MPNetForMaskedLM.

As it comes (A) in fp32; `--tuned` (B) in bf16, with threads and allocator from outside. Batches are padded to their
longest row in both; grouping rows by length is no option of such tools.
"""

import argparse
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bench_side import Record, read_orders
from torch import nn
from torch.nn import functional as F
from transformers import AutoTokenizer, MPNetForMaskedLM, set_seed

MASKED, RANDOM = 0.8, 0.1


@dataclass
class Batch:
    """`ids` and `positions`: L permuted tokens, p masks, p masks again (the queries)."""

    ids: torch.Tensor
    positions: torch.Tensor
    padding: torch.Tensor
    targets: torch.Tensor
    tokens: int


class Collator:
    def __init__(self, tokenizer: Any, orders: argparse.Namespace) -> None:
        self.tokenizer = tokenizer
        self.share = orders.probability
        self.draws = np.random.default_rng(orders.seed)
        pieces = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
        self.goes_on = np.array([piece.startswith("##") for piece in pieces])
        self.special = np.zeros(len(tokenizer), dtype=bool)
        self.special[tokenizer.all_special_ids] = True
        self.ordinary = np.flatnonzero(~self.special)

    def __call__(self, rows: list[list[int]]) -> Batch:
        width = max(map(len, rows))
        p = max(1, round(self.share * min(int((~self.special[row]).sum()) for row in map(np.array, rows))))
        orders = np.stack([self.permute(np.array(row), width) for row in rows])
        padded = np.stack([np.pad(row, (0, width - len(row)), constant_values=1) for row in rows])
        ids = np.take_along_axis(padded, orders, axis=1)
        targets, places = ids[:, -p:], orders[:, -p:]
        fate = self.draws.random(targets.shape)
        masks = np.where(fate < MASKED, self.tokenizer.mask_token_id, targets)
        other = self.draws.choice(self.ordinary, targets.shape)
        masks = np.where((fate >= MASKED) & (fate < MASKED + RANDOM), other, masks)
        return Batch(
            ids=torch.from_numpy(np.concatenate([ids, masks, masks], axis=1)),
            positions=torch.from_numpy(np.concatenate([orders, places, places], axis=1)),
            padding=torch.from_numpy(ids == self.tokenizer.pad_token_id),
            targets=torch.from_numpy(targets),
            tokens=sum(map(len, rows)),
        )

    def permute(self, row: np.ndarray[Any, Any], width: int) -> np.ndarray[Any, Any]:
        """What is never predicted first (marks, padding), then the words in another order."""
        special = self.special[row]
        kept = np.concatenate([np.flatnonzero(special), np.arange(len(row), width)])
        tokens = np.flatnonzero(~special)
        words = np.split(tokens, np.flatnonzero(~self.goes_on[row[tokens]])[1:])
        return np.concatenate([kept, *(words[index] for index in self.draws.permutation(len(words)))])


def visible(length: int, p: int, padding: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """What the content rows (L + p) and the query rows (p) look at among the content rows."""
    known = torch.ones(length + p, length + p, dtype=torch.bool)
    first = length - p
    known[:first, first:length] = False
    known[length:, first:length] = False
    # predicted row i: true tokens up to itself, masks of the later ones
    known[first:length, first:length] = torch.ones(p, p).tril().bool()
    known[first:length, length:] = torch.ones(p, p).triu(1).bool()
    asking = torch.ones(p, length + p, dtype=torch.bool)
    asking[:, first:length] = torch.ones(p, p).tril(-1).bool()
    asking[:, length:] = torch.ones(p, p).triu().bool()
    there = ~F.pad(padding, (0, p))[:, None, None, :]
    return known & there, asking & there


class TwoStreams(nn.Module):
    def __init__(self, network: MPNetForMaskedLM) -> None:
        super().__init__()
        self.network = network

    def forward(self, batch: Batch) -> torch.Tensor:
        """Logits of the p predicted tokens of each row."""
        body, p = self.network.mpnet, batch.targets.shape[1]
        every = body.embeddings(input_ids=batch.ids, position_ids=batch.positions + 2)
        content, queries = every[:, :-p], every[:, -p:]
        places, asked = batch.positions[:, :-p], batch.positions[:, -p:]
        known, asking = visible(content.shape[1] - p, p, batch.padding.cpu())
        content_bias = self.bias(places, places, known.to(places.device))
        query_bias = self.bias(asked, places, asking.to(places.device))
        for layer in body.encoder.layer:
            attention = layer.attention.attn
            keys, values = split(attention.k(content), attention), split(attention.v(content), attention)
            content, queries = (
                finish(layer, rows, attend(attention, rows, keys, values, bias))
                for rows, bias in ((content, content_bias), (queries, query_bias))
            )
        return self.network.lm_head(queries)

    def bias(self, rows: torch.Tensor, columns: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
        encoder = self.network.mpnet.encoder
        buckets = encoder.relative_position_bucket(columns[:, None, :] - rows[:, :, None])
        distances = encoder.relative_attention_bias(buckets).permute(0, 3, 1, 2)
        return distances.masked_fill(~seen, torch.finfo(distances.dtype).min)


def split(tensor: torch.Tensor, attention: Any) -> torch.Tensor:
    return tensor.unflatten(2, (attention.num_attention_heads, attention.attention_head_size)).transpose(1, 2)


def attend(
    attention: Any, rows: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, bias: torch.Tensor
) -> torch.Tensor:
    scores = split(attention.q(rows), attention) @ keys.transpose(2, 3) / math.sqrt(attention.attention_head_size)
    shares = attention.dropout(F.softmax(scores + bias, dim=-1, dtype=torch.float32))
    return attention.o((shares.to(values.dtype) @ values).transpose(1, 2).flatten(2))


def finish(layer: Any, rows: torch.Tensor, attended: torch.Tensor) -> torch.Tensor:
    inner = layer.attention.LayerNorm(rows + layer.attention.dropout(attended))
    return layer.output(layer.intermediate(inner), inner)


def batches(rows: list[list[int]], size: int, seed: int) -> Iterator[list[list[int]]]:
    draws = np.random.default_rng(seed)
    while True:
        order = draws.permutation(len(rows))
        for start in range(0, len(rows) - size + 1, size):
            yield [rows[index] for index in order[start : start + size]]


def main() -> None:
    orders = read_orders()
    set_seed(orders.seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    tokenizer = AutoTokenizer.from_pretrained(orders.model)
    model = TwoStreams(MPNetForMaskedLM.from_pretrained(orders.model)).to(device).train()
    decayed = [parameter for parameter in model.parameters() if parameter.dim() > 1]
    others = [parameter for parameter in model.parameters() if parameter.dim() < 2]
    groups = [{"params": decayed, "weight_decay": 0.01}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=orders.learning_rate)
    lines = Path(orders.text).read_text(encoding="utf-8").splitlines()
    rows = tokenizer(lines, truncation=True, max_length=orders.length)["input_ids"]
    collate = Collator(tokenizer, orders)
    record = Record(Path(orders.record), dtype="bf16" if orders.tuned else "fp32")
    for _, some in zip(range(orders.steps), batches(rows, orders.batch, orders.seed), strict=False):
        batch = collate(some)
        here = Batch(
            ids=batch.ids.to(device),
            positions=batch.positions.to(device),
            padding=batch.padding.to(device),
            targets=batch.targets.to(device),
            tokens=batch.tokens,
        )
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=orders.tuned):
            logits = model(here)
        loss = F.cross_entropy(logits.float().flatten(0, 1), here.targets.flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        record.add(tokens=batch.tokens, predicted=batch.targets.numel(), loss=loss.item())
    record.write()


if __name__ == "__main__":
    main()
