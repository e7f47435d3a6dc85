"""What a run knows besides weights and moments: a few numbers, all of it in a checkpoint's state.json. Nothing else is
carried from step to step."""

from dataclasses import asdict, dataclass, field
from typing import Any

from runjob.runner.worker.advice import Watch
from runjob.runner.worker.bad_steps import BadSteps
from runjob.runner.worker.exchange import Agreement
from runjob.runner.worker.metrics import Metrics


@dataclass(kw_only=True)
class Best:
    """The best evaluation so far by the job's metric (schemas/direction.py says which way)."""

    step: int
    value: float


@dataclass(kw_only=True)
class Patience:
    """Early stopping: the value to beat, since which step, and evaluations without improvement."""

    value: float | None = None
    step: int = 0
    evaluations: int = 0


@dataclass(kw_only=True)
class TrainingState:
    """Counters after `step` steps. `tokens` are non-padding input tokens, `samples` sequences, those of steps that were
    left out included; `skipped` are the steps that made no update: bad ones, and what fp16's loss scaler left out;
    `seconds` of training over all attempts."""

    step: int = 0
    tokens: int = 0
    samples: int = 0
    skipped: int = 0
    seconds: float = 0.0
    best: Best | None = None
    patience: Patience = field(default_factory=Patience)
    last_evaluation: Metrics | None = None
    last_train_loss: float | None = None
    stopped_early: bool = False
    watch: Watch = field(default_factory=Watch)
    bad_steps: BadSteps = field(default_factory=BadSteps)

    def advance(self, agreed: Agreement, *, applied: bool, loss: float, seconds: float) -> None:
        """One optimiser step further."""
        self._count(agreed, applied=applied, seconds=seconds)
        self.last_train_loss = loss

    def leave_out(self, agreed: Agreement, *, seconds: float) -> None:
        """One step further in the data, and no update."""
        self._count(agreed, applied=False, seconds=seconds)

    def _count(self, agreed: Agreement, *, applied: bool, seconds: float) -> None:
        self.step += 1
        self.tokens += agreed.tokens
        self.samples += len(agreed.digests)
        self.skipped += not applied
        self.seconds += seconds

    def give_another_chance(self) -> None:
        """A finished run that is lengthened does not end at once again for having stopped early before."""
        self.stopped_early = False
        self.patience = Patience()

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def from_json(raw: dict[str, Any]) -> "TrainingState":
        best = Best(**raw["best"]) if raw["best"] is not None else None
        memory = {
            "patience": Patience(**raw["patience"]),
            "watch": Watch(**raw["watch"]),
            # a checkpoint that is older than these rules
            "bad_steps": BadSteps(**raw["bad_steps"]) if "bad_steps" in raw else BadSteps(),
        }
        return TrainingState(**{**raw, "best": best, **memory})
