"""What a resumed job may have changed since it began, value by value, each verdict with its reason.

free      nothing that is computed changes
exact     the same computation in other pieces: the same batches, losses within the second column of the promise
accept    another run from here on; the user has to say that this is meant
refused   it would no longer be the same run; a new job is what is wanted
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

Verdict = Literal["free", "exact", "accept", "refused"]

# The longest prefix that fits decides.
RULES: dict[str, tuple[Verdict, str]] = {
    "name": ("refused", "the id is made of it"),
    "schema": ("refused", "a job file of another schema version is another job"),
    "seed": (
        "refused",
        "it decides the order of the samples, the split and the dropout; half a run of each is neither",
    ),
    "data": ("refused", "the run goes on in the order of its own samples, which exists for its own data alone"),
    "data.disk_budget": ("free", "blocks that are gone are read again"),
    "data.warn_below": ("free", "it is said once and decides nothing"),
    "data.tokenizer": ("refused", "the embedding rows of the checkpoint belong to its tokenizer"),
    "model": ("refused", "the checkpoint holds the tensors of its own model"),
    "objective": ("refused", "the loss would measure something else from here on"),
    "training.length": ("accept", "the schedule stretches with the length, so earlier learning rates no longer fit it"),
    "training.stop_after": ("free", "it only says when to pause"),
    "training.global_batch": (
        "refused",
        "the place in the data is counted in batches; others would repeat or skip samples",
    ),
    "training.micro_batch": ("exact", "the same global batch in other pieces"),
    "training.micro_tokens": ("exact", "the same global batch in other pieces"),
    "training.learning_rate": ("accept", "the curve bends here"),
    "training.schedule": ("accept", "the learning rate may jump here"),
    "training.optimizer": ("accept", "the moments of the checkpoint were gathered under the old values"),
    "training.gradient_clipping": ("accept", "the updates change from here on"),
    "training.precision": ("accept", "losses before and after compare only roughly"),
    "training.gradient_checkpointing": ("exact", "the same mathematics, computed twice"),
    "training.compile": ("accept", "it is part of the run's identity: other kernels round otherwise"),
    "training.kernels": ("accept", "it is part of the run's identity: other kernels round otherwise"),
    "training.log_every": ("free", "it only says what is written down"),
    "training.checkpoint": ("free", "a run that saves equals a run that doesn't"),
    "training.on_bad_step": ("accept", "other batches may be left out from here on"),
    "training.on_bad_step.skips_in_a_row": ("free", "it only says when to give up"),
    "training.on_bad_step.rewinds": ("free", "it only says when to give up"),
    "training.on_bad_step.overflows_in_a_row": ("free", "it only says when to give up"),
    "training.hung_after": ("free", "it only says when to give up"),
    "evaluation": ("accept", "evaluations before and after no longer compare, nor does the best checkpoint"),
    "evaluation.every": ("accept", "early stopping and the best checkpoint look at other steps from here on"),
    "evaluation.micro_batch": ("exact", "the same sums in other pieces"),
    "evaluation.at_start": ("free", "the start is over"),
    "evaluation.baseline": ("free", "it is computed beside the run"),
    "evaluation.prompts": ("free", "samples are only shown"),
    "evaluation.generation": ("free", "samples are only shown"),
    "hardware": ("exact", "where and in how many pieces the same batches are computed"),
    "hardware.time": ("free", "a limit, not a computation"),
    "hardware.memory": ("free", "a limit, not a computation"),
    "hardware.slurm": ("free", "where it runs"),
    "hardware.ssh": ("free", "where it runs"),
    "hardware.aws": ("free", "where it runs"),
    "hardware.deepspeed": ("accept", "settings of the engine that runjob doesn't judge"),
    "tracking": ("free", "it only says what is written down"),
    "output.remote": ("free", "where copies go"),
    "output": ("free", "it stands in the model card only"),
}


@dataclass(frozen=True, kw_only=True)
class Change:
    """One value that differs; `verdict` and `reason` by the table above."""

    path: str
    old: Any
    new: Any
    verdict: Verdict
    reason: str

    def __str__(self) -> str:
        return f"{self.path}: {show(self.old)} -> {show(self.new)} ({self.verdict}: {self.reason})"


def find_changes(old: dict[str, Any], new: dict[str, Any]) -> list[Change]:
    """Every leaf that differs between two resolved jobs, in the order of the file."""
    before, after = dict(leaves(old, "")), dict(leaves(new, ""))
    paths = [*before, *(path for path in after if path not in before)]
    differing = [path for path in paths if before.get(path) != after.get(path)]
    return [judge(path, before.get(path), after.get(path)) for path in differing]


def judge(path: str, old: Any, new: Any) -> Change:  # noqa: ANN401 - any JSON value
    parts = path.split(".")
    prefixes = [".".join(parts[:length]) for length in range(len(parts), 0, -1)]
    verdict, reason = next(RULES[prefix] for prefix in prefixes if prefix in RULES)
    return Change(path=path, old=old, new=new, verdict=verdict, reason=reason)


def leaves(value: dict[str, Any], path: str) -> Iterator[tuple[str, Any]]:
    for key, item in value.items():
        here = f"{path}.{key}" if path else key
        if isinstance(item, dict) and item:
            yield from leaves(item, here)
        else:
            yield here, item


def show(value: Any) -> str:  # noqa: ANN401 - any JSON value
    return "nothing" if value is None else str(value)
