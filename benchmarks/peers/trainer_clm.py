"""Causal language modelling with the Hugging Face Trainer: tokenise, put everything end to end, cut into chunks. As it
comes (A) in fp32; `--tuned` (B) in bf16, with threads and allocator from outside. (Nothing is padded in either.)"""

from itertools import chain

from bench_side import Recorder, read_orders, trainer_settings
from datasets import load_dataset
from transformers import AutoModelForCausalLM, AutoTokenizer, Trainer, default_data_collator, set_seed


def main() -> None:
    orders = read_orders()
    set_seed(orders.seed)
    tokenizer = AutoTokenizer.from_pretrained(orders.model)
    model = AutoModelForCausalLM.from_pretrained(orders.model)
    lines = load_dataset("text", data_files=orders.text, split="train")

    def tokenize(rows: dict[str, list[str]]) -> dict[str, list[list[int]]]:
        # most such scripts add no end to a document; without it the losses could not be compared with runjob's
        return {"ids": tokenizer([text + tokenizer.eos_token for text in rows["text"]])["input_ids"]}

    def group(rows: dict[str, list[list[int]]]) -> dict[str, list[list[int]]]:
        ids = list(chain.from_iterable(rows["ids"]))
        whole = len(ids) // orders.length * orders.length
        chunks = [ids[start : start + orders.length] for start in range(0, whole, orders.length)]
        ones = [[1] * orders.length for _ in chunks]
        # nothing predicts a row's first token; Trainer divides by all labels that it sees, that one too, and would tell
        # (and train by) a loss that is 0.4 % too small at 256 tokens
        labels = [[-100, *chunk[1:]] for chunk in chunks]
        return {"input_ids": chunks, "attention_mask": ones, "labels": labels}

    tokens = lines.map(tokenize, batched=True, remove_columns=["text"])
    trainer = Trainer(
        model=model,
        args=trainer_settings(orders),
        train_dataset=tokens.map(group, batched=True, remove_columns=["ids"]),
        data_collator=default_data_collator,
        callbacks=[Recorder(orders)],
    )
    trainer.train()


if __name__ == "__main__":
    main()
