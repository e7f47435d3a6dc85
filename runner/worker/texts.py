"""What `runjob generate` hands out."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Text:
    """One finished text; `ended` is eos, length (as many tokens as asked for) or positions (the model has no more)."""

    prompt: str
    text: str
    tokens: int
    ended: str
