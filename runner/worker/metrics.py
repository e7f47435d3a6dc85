"""Numbers that readers compare between runs, from a sum of losses in nats.

Everything starts from sums, never from means of means: the sum of cross-entropies over all predicted tokens, their
number, and the bytes of text that they stand for. Bits per byte is the one that tokenizers of different vocabularies
share; perplexity is only comparable on the same tokens.
"""

import math

# What an evaluation says, by the names of the events; None where there was nothing to measure it on
Metrics = dict[str, float | None]


def mean_loss(nats: float, tokens: int) -> float:
    """Nats per predicted token."""
    if tokens <= 0:
        raise ValueError(f"a mean over {tokens} tokens does not exist")
    return nats / tokens


def perplexity(loss: float) -> float:
    """exp of the token-weighted loss; infinite rather than an OverflowError where exp leaves a float (loss > 709.78).

    >>> perplexity(0.0)
    1.0
    """
    try:
        return math.exp(loss)
    except OverflowError:
        return math.inf


def bits_per_byte(nats: float, text_bytes: int) -> float:
    """Bits that the model needs for one byte of text.

    >>> bits_per_byte(math.log(2) * 16, 8)
    2.0
    """
    if text_bytes <= 0:
        raise ValueError(f"{text_bytes} bytes of text can't be coded")
    return nats / math.log(2) / text_bytes
