"""What a run is told about itself while it trains: one table of signs, each with its threshold, and what is counted for
them. Nothing here changes training; each sign is told once a run.

What is counted is a pure function of what the steps and evaluations said, and goes through checkpoints, so a resumed
run says the same at the same step as an unbroken one (only `data_wait` and `slow_rank` hang on the machine's clock).
"""

import math
from dataclasses import dataclass, field
from statistics import median, mode
from typing import Any, Literal

Name = Literal[
    "tokens_per_parameter",
    "loss_at_start",
    "few_documents",
    "characters_beyond",
    "loss_flat",
    "evaluation_apart",
    "evaluation_rose",
    "data_wait",
    "gradient_clipped",
    "slow_rank",
]

# Steps that are looked at together: the mean loss of fewer is mostly noise where global batches are small.
WINDOW = 100
# Forward passes of equal work on equal machines differ by some percent from step to step
SLOWER = 1.25


@dataclass(frozen=True, kw_only=True)
class Sign:
    """`watched` and `window` say what is compared with the threshold; `advice` is a sentence around {value}."""

    name: Name
    watched: str
    threshold: float
    window: str
    advice: str

    def tell(self, value: float, *, rank: int | None = None) -> "Told":
        return Told(sign=self, value=value, rank=rank)


@dataclass(frozen=True, kw_only=True)
class Told:
    """A sign that was seen, the value by which it was, and the rank that it is about, if it is about one."""

    sign: Sign
    value: float
    rank: int | None

    def to_event(self) -> dict[str, Any]:
        text = self.sign.advice.format(value=self.value, threshold=self.sign.threshold, rank=self.rank)
        about = {} if self.rank is None else {"rank": self.rank}
        return {"name": self.sign.name, "value": self.value, "threshold": self.sign.threshold, **about, "advice": text}


FEW_TOKENS = Sign(
    name="tokens_per_parameter",
    watched="tokens that the run will see, over parameters: fewer than",
    # Hoffmann et al. 2022 (Chinchilla), table 3: about 20 are compute-optimal for a model from scratch
    threshold=20,
    window="the whole run, before its first step",
    advice="the run will see {value:.2g} tokens a parameter; about {threshold:g} are compute-optimal (Hoffmann et al. "
    "2022); a smaller model or more text helps",
)
LOSS_AT_START = Sign(
    name="loss_at_start",
    watched="evaluation loss minus the logarithm of the vocabulary, which is the loss of a guess: above",
    # fresh networks of the five families begin at most 0.2 above it
    threshold=0.5,
    window="the evaluation before the first step",
    advice="before its first step the model is {value:.2g} nats worse than a guess among all tokens: its first weights "
    "are too large, or another tokenizer's; a student (model.init.kind: guide) begins at a guess with "
    "model.init.embedding_scale: fresh",
)
LOSS_FLAT = Sign(
    name="loss_flat",
    watched="windows in a row whose mean training loss is no new low: at least",
    threshold=5,
    window=f"{WINDOW} steps each, after the warm-up",
    advice="the training loss has not fallen for {value:g} x 100 steps; if it never fell far, try a "
    "training.learning_rate three times as large, or a third of it where the loss jumps; if it did, the run has learnt "
    "what it can: evaluation.early_stopping ends such runs",
)
APART = Sign(
    name="evaluation_apart",
    watched="evaluation loss minus the mean training loss since the evaluation before, above 0 and larger each time: "
    "grew by more than",
    threshold=0.05,
    window="3 evaluations in a row",
    advice="the distance of evaluation and training loss grew 3 evaluations in a row, by {value:.2g} nats: the model "
    "begins to learn its corpus by heart; train for less long, on more text, or with dropout (the best model so far is "
    "kept where evaluation.best names a metric)",
)
ROSE = Sign(
    name="evaluation_rose",
    watched="evaluation loss minus that of the run's first evaluation: above",
    threshold=0.5,
    window="each evaluation",
    advice="the evaluation loss is {value:.2g} nats above that of the run's first evaluation, so the model is worse "
    "than it began; try a tenth of training.learning_rate, a longer warm-up, or training.gradient_clipping: 1.0 (the "
    "best model so far is kept where evaluation.best names a metric)",
)
DATA_WAIT = Sign(
    name="data_wait",
    watched="share of the time spent waiting for data: above",
    threshold=0.1,
    window=f"{WINDOW} steps",
    advice="{value:.0%} of the time went into waiting for data; prepare a corpus that is streamed, or read it from a "
    "nearer copy; else put $RUNJOB_CACHE on a faster disk, or leave a core free with hardware.threads",
)
CLIPPED = Sign(
    name="gradient_clipped",
    watched="share of steps whose gradient norm is above training.gradient_clipping: at least",
    threshold=0.9,
    window=f"{WINDOW} steps, after the warm-up",
    advice="training.gradient_clipping cut the gradient in {value:.0%} of the last 100 steps, and so decides how far "
    "each of them goes: lower training.learning_rate, lengthen the warm-up, or raise the limit",
)
SLOW_RANK = Sign(
    name="slow_rank",
    watched=f"share of steps in which the forward passes of one and the same rank took more than {SLOWER:g} times as "
    "long as those of the others (their median): at least",
    threshold=0.9,
    window=f"{WINDOW} steps, below ZeRO 3",
    advice=f"rank {{rank}} computed more than {SLOWER:g} times as long as the others in {{value:.0%}} of the last "
    f"{WINDOW} steps, and all of them wait for it: look what else runs on its node, whether its GPU is throttled (hot, "
    "or short of power), and whether it has as many cores (hardware.threads)",
)
SIGNS = (FEW_TOKENS, LOSS_AT_START, LOSS_FLAT, APART, ROSE, DATA_WAIT, CLIPPED, SLOW_RANK)


def few_tokens(tokens: int, *, parameters: int) -> Told | None:
    """Of the whole run, before its first step."""
    seen = tokens / parameters
    return FEW_TOKENS.tell(seen) if seen < FEW_TOKENS.threshold else None


def above_guessing(loss: float, *, classes: int | None) -> list[Told]:
    """Of the evaluation before the first step; `classes` None: nobody guesses among tokens."""
    if classes is None:
        return []
    above = loss - math.log(classes)
    return [LOSS_AT_START.tell(above)] if above > LOSS_AT_START.threshold else []


@dataclass(frozen=True, kw_only=True)
class Step:
    """What one step said. `clip` None: gradients are not clipped; `forward_s`: what each rank's forward passes took, or
    nothing where that does not tell them apart."""

    number: int
    warmup: int
    loss: float
    grad_norm: float
    clip: float | None
    seconds: float
    wait_s: float
    forward_s: tuple[float, ...]

    def slow_rank(self) -> int | None:
        """The rank that took longest, if that was much longer than the others."""
        if len(self.forward_s) < 2:
            return None
        slowest = max(range(len(self.forward_s)), key=self.forward_s.__getitem__)
        others = median(self.forward_s[:slowest] + self.forward_s[slowest + 1 :])
        return slowest if self.forward_s[slowest] > SLOWER * others else None


@dataclass(kw_only=True)
class Watch:
    """All that is remembered, in sums: `lowest` mean loss of a window and `windows` since; of the running window its
    steps that were made (`counted`), their losses, clipped ones, times and slow ranks; of the steps since the last
    evaluation their losses; the last `distances`; the loss of the `first` evaluation."""

    said: list[Name] = field(default_factory=list)
    lowest: float | None = None
    windows: int = 0
    counted: int = 0
    losses: float = 0.0
    clipped: int = 0
    seconds: float = 0.0
    wait_s: float = 0.0
    slow: list[int] = field(default_factory=list)
    since: float = 0.0
    steps: int = 0
    distances: list[float] = field(default_factory=list)
    first: float | None = None

    def after_step(self, step: Step) -> list[Told]:
        self.counted += 1
        self.losses += step.loss
        self.clipped += step.clip is not None and step.grad_norm > step.clip
        self.seconds += step.seconds
        self.wait_s += step.wait_s
        slow = step.slow_rank()
        self.slow += [] if slow is None else [slow]
        self.since += step.loss
        self.steps += 1
        return self.after_any(step.number, warmup=step.warmup)

    def after_any(self, number: int, *, warmup: int) -> list[Told]:
        """Also a step that was left out ends a window; of itself nothing is counted."""
        if number % WINDOW:
            return []
        told = [self._waiting(), self._slow()]
        if number - WINDOW >= warmup and self.counted:
            told += [self._flat(), self._clipping()]
        self.counted, self.losses, self.clipped, self.seconds, self.wait_s, self.slow = 0, 0.0, 0, 0.0, 0.0, []
        return self._once(told)

    def after_evaluation(self, loss: float) -> list[Told]:
        self.first = loss if self.first is None else self.first
        if not self.steps:  # before the first step, or again at the same one after a resume
            return []
        self.distances = [*self.distances[-3:], loss - self.since / self.steps]
        self.since, self.steps = 0.0, 0
        return self._once([self._apart(), ROSE.tell(rise) if (rise := loss - self.first) > ROSE.threshold else None])

    def _waiting(self) -> Told | None:
        share = self.wait_s / self.seconds if self.seconds else 0.0
        return DATA_WAIT.tell(share) if share > DATA_WAIT.threshold else None

    def _slow(self) -> Told | None:
        if not self.slow:
            return None
        rank = mode(self.slow)
        share = self.slow.count(rank) / self.counted
        return SLOW_RANK.tell(share, rank=rank) if share >= SLOW_RANK.threshold else None

    def _flat(self) -> Told | None:
        mean = self.losses / self.counted
        if self.lowest is None or mean < self.lowest:
            self.lowest, self.windows = mean, 0
            return None
        self.windows += 1
        return LOSS_FLAT.tell(self.windows) if self.windows >= LOSS_FLAT.threshold else None

    def _clipping(self) -> Told | None:
        share = self.clipped / self.counted
        return CLIPPED.tell(share) if share >= CLIPPED.threshold else None

    def _apart(self) -> Told | None:
        distances = self.distances
        if len(distances) < 4 or distances != sorted(set(distances)) or distances[1] <= 0:
            return None
        grown = distances[-1] - distances[0]
        return APART.tell(grown) if grown > APART.threshold else None

    def _once(self, told: list[Told | None]) -> list[Told]:
        new = [one for one in told if one is not None and one.sign.name not in self.said]
        self.said += [one.sign.name for one in new]
        return new
