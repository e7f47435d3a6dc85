"""The two ends at which a peer meets the bench: what it is told, and the record of its steps that it leaves. All else
in the scripts beside this one is as users write it."""

import argparse
import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback, TrainingArguments


def read_orders() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    for name in ("text", "model", "record"):
        parser.add_argument(f"--{name}", required=True)
    for name in ("steps", "batch", "length", "seed"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--learning-rate", type=float, required=True)
    parser.add_argument("--probability", type=float, required=True)
    parser.add_argument("--unit", required=True)
    parser.add_argument("--tuned", action="store_true")
    return parser.parse_args()


def trainer_settings(orders: argparse.Namespace) -> TrainingArguments:
    """A leaves alone what B sets: bf16, and rows of similar length together."""
    return TrainingArguments(
        output_dir=f"{orders.record}.out",
        max_steps=orders.steps,
        per_device_train_batch_size=orders.batch,
        learning_rate=orders.learning_rate,
        lr_scheduler_type="constant",
        weight_decay=0.01,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        seed=orders.seed,
        include_num_input_tokens_seen="non_padding",
        bf16=orders.tuned,
        use_cpu=not torch.cuda.is_available(),  # else bf16 is refused there
        train_sampling_strategy="group_by_length" if orders.tuned else "random",
    )


@dataclass
class Record:
    """Steps in the form of benchmarks/speed/runs.py."""

    path: Path
    dtype: str
    steps: list[dict[str, Any]] = field(default_factory=list)

    def add(self, *, tokens: int, predicted: int | None, loss: float | None) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        step = {"number": len(self.steps) + 1, "time": time.time(), "tokens": tokens, "predicted": predicted}
        self.steps.append({**step, "loss": loss})

    def write(self) -> None:
        whole = {"threads": torch.get_num_threads(), "dtype": self.dtype, "steps": self.steps}
        self.path.write_text(json.dumps(whole), encoding="utf-8")


class Recorder(TrainerCallback):
    """Trainer tells the tokens at the end of a step, and its loss when it logs that step."""

    def __init__(self, orders: argparse.Namespace) -> None:
        self.record = Record(Path(orders.record), dtype="bf16" if orders.tuned else "fp32")
        self.tokens = 0

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.record.add(tokens=state.num_input_tokens_seen - self.tokens, predicted=None, loss=None)
        self.tokens = state.num_input_tokens_seen

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any], **_: Any) -> None:
        if "loss" in logs:
            self.record.steps[state.global_step - 1]["loss"] = logs["loss"]

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.record.write()
