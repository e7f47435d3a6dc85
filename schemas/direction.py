"""Which way a metric is better, as far as runjob knows it."""

from collections.abc import Iterable
from typing import Literal

# By how a name begins; of `loss/wiki` and `perplexity_hiding_15` that is `loss` and `perplexity`
LOWER = ("loss", "perplexity", "bits_per_byte", "masked_bits_per_byte", "rare_token_perplexity", "fragmentation")
HIGHER = (
    *("f1", "f1_macro", "accuracy", "precision", "recall", "spearman", "pearson", "tokens_per_s", "samples_per_s"),
    *("recall_at_1", "recall_at_5", "recall_at_10", "mrr", "ndcg_at_10"),
)


def direction_of(metric: str) -> Literal["lower", "higher"] | None:
    """None for a metric that we don't know, of which none is called the best.

    >>> direction_of("loss_hiding_15"), direction_of("f1/entity"), direction_of("rare_tokens")
    ('lower', 'higher', None)
    """
    for direction, names in (("lower", LOWER), ("higher", HIGHER)):
        if any(metric == name or metric.startswith((f"{name}/", f"{name}_hiding_")) for name in names):
            return direction  # type: ignore[return-value]
    return None


def is_better(metric: str, value: float, than: float, *, by: float = 0.0) -> bool:
    """By more than `by`. NaN is never better; of a metric that nobody knows, nothing is.

    >>> is_better("loss", 2.0, 2.1), is_better("f1", 0.5, 0.6), is_better("f1/TIME", 0.65, 0.6, by=0.1)
    (True, False, False)
    """
    match direction_of(metric):
        case "lower":
            return value < than - by
        case "higher":
            return value > than + by
        case None:
            return False


def best_of(values: Iterable[float | None], metric: str) -> float | None:
    """The best of them, those that are not there aside; none where it is not known which way is better."""
    there = [value for value in values if value is not None]
    direction = direction_of(metric)
    if not there or direction is None:
        return None
    return min(there) if direction == "lower" else max(there)
