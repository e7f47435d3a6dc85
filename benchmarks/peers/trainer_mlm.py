"""Masked language modelling with the Hugging Face Trainer, a line a row. As it comes (A): fp32, every row padded to the
longest that is allowed, a head at every position. `--tuned` (B): bf16, batches padded to their own longest row, rows of
similar length together; threads and allocator come from outside."""

from bench_side import Recorder, read_orders, trainer_settings
from datasets import load_dataset
from transformers import (
    AutoModelForMaskedLM,
    AutoTokenizer,
    BatchEncoding,
    DataCollatorForLanguageModeling,
    Trainer,
    set_seed,
)
from whole_words import WholeWordCollator


def main() -> None:
    orders = read_orders()
    set_seed(orders.seed)
    tokenizer = AutoTokenizer.from_pretrained(orders.model)
    model = AutoModelForMaskedLM.from_pretrained(orders.model)
    lines = load_dataset("text", data_files=orders.text, split="train")

    def tokenize(rows: dict[str, list[str]]) -> BatchEncoding:
        return tokenizer(
            rows["text"],
            truncation=True,
            max_length=orders.length,
            padding=False if orders.tuned else "max_length",
            return_special_tokens_mask=True,
            return_token_type_ids=False,
        )

    collators = {"token": DataCollatorForLanguageModeling, "word": WholeWordCollator}
    trainer = Trainer(
        model=model,
        args=trainer_settings(orders),
        train_dataset=lines.map(tokenize, batched=True, remove_columns=["text"]),
        data_collator=collators[orders.unit](tokenizer, mlm_probability=orders.probability),
        callbacks=[Recorder(orders)],
    )
    trainer.train()


if __name__ == "__main__":
    main()
