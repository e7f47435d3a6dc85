"""Hidden characters of domain names with CANINE and the Hugging Face Trainer: a plain module with the encoder and a
head of 16,384 classes at every position, each hidden character masked. As it comes (A): fp32, every name padded to 128.
`--tuned` (B): bf16, names of similar length together, padded to the shortest width that answers as 128 does (the
encoder drops its last group of four characters)."""

import argparse
from collections.abc import Mapping
from pathlib import Path

import torch
from bench_side import Recorder, read_orders, trainer_settings
from datasets import load_dataset
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F
from transformers import BatchEncoding, CanineConfig, CanineModel, CanineTokenizer, Trainer, set_seed

CLASSES = 16_384
# Of the bench's file, whose head is named otherwise
HEAD = {"head.dense.": "mlm_head.0.", "head.norm.": "mlm_head.2.", "head.decoder.": "mlm_head.3."}


class CanineWithHead(nn.Module):
    def __init__(self, config: CanineConfig) -> None:
        super().__init__()
        width = config.hidden_size
        self.canine = CanineModel(config)
        self.mlm_head = nn.Sequential(
            nn.Linear(width, width), nn.GELU(), nn.LayerNorm(width, eps=1e-5), nn.Linear(width, CLASSES)
        )

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, labels: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        hidden = self.canine(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        logits = self.mlm_head(hidden)
        loss = F.cross_entropy(logits.view(-1, CLASSES), labels.view(-1))
        return {"loss": loss, "logits": logits}


class Collator:
    def __init__(self, tokenizer: CanineTokenizer, orders: argparse.Namespace) -> None:
        self.tokenizer = tokenizer
        self.probability = orders.probability
        self.width = None if orders.tuned else orders.length

    def __call__(self, rows: list[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
        longest = max(len(row["input_ids"]) for row in rows)
        width = self.width or 4 * -(-longest // 4) + 8
        names = [{"input_ids": row["input_ids"]} for row in rows]
        batch = self.tokenizer.pad(names, padding="max_length", max_length=width, return_tensors="pt")
        ids = batch["input_ids"]
        special = (ids == 0) | (ids == self.tokenizer.cls_token_id) | (ids == self.tokenizer.sep_token_id)
        hidden = torch.bernoulli(torch.full(ids.shape, self.probability).masked_fill(special, 0.0)).bool()
        return {
            "input_ids": ids.masked_fill(hidden, self.tokenizer.mask_token_id),
            "attention_mask": batch["attention_mask"],
            "labels": ids.masked_fill(~hidden, -100),
        }


def load(model: nn.Module, weights: Mapping[str, torch.Tensor]) -> None:
    """The pooler, which no loss reaches, stays as it is."""
    renamed = {}
    for name, tensor in weights.items():
        theirs = next((one for one in HEAD if name.startswith(one)), None)
        renamed[name if theirs is None else HEAD[theirs] + name.removeprefix(theirs)] = tensor
    missing, unexpected = model.load_state_dict(renamed, strict=False)
    if unexpected or any("pooler" not in name for name in missing):
        raise SystemExit(f"the weights do not fit: missing {missing}, unexpected {unexpected}")


def main() -> None:
    orders = read_orders()
    set_seed(orders.seed)
    tokenizer = CanineTokenizer()
    model = CanineWithHead(CanineConfig.from_pretrained(orders.model))
    load(model, load_file(Path(orders.model) / "model.safetensors"))
    names = load_dataset("text", data_files=orders.text, split="train")

    def tokenize(rows: dict[str, list[str]]) -> BatchEncoding:
        return tokenizer(rows["text"], truncation=True, max_length=orders.length)

    trainer = Trainer(
        model=model,
        args=trainer_settings(orders),
        train_dataset=names.map(tokenize, batched=True, remove_columns=["text"]),
        data_collator=Collator(tokenizer, orders),
        callbacks=[Recorder(orders)],
    )
    trainer.train()


if __name__ == "__main__":
    main()
