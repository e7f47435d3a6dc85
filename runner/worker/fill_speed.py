"""How fast a masked model reads rows with gaps: ours, which computes the head at the gaps alone, beside a plain forward
pass of transformers over the same rows."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from transformers import PreTrainedModel

from runjob.runner.worker.generate_speed import BATCHES, alternate
from runjob.runner.worker.models.configs import ids_in, positions_of

ROW = 512
GAPS = 0.15

# Rows and where their gaps are -> logits of each gap
Answer = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


@dataclass(frozen=True, kw_only=True)
class FillSpeed:
    """Tokens per second of one batch size: ours and transformers'."""

    batch: int
    row_tokens: int
    fill: float
    transformers: float

    def __str__(self) -> str:
        return (
            f"batch {self.batch}: {self.fill:,.0f} tokens/s ({self.row_tokens} a row, {GAPS:.0%} of them gaps); "
            f"transformers {self.transformers:,.0f} (ratio {self.fill / self.transformers:.2f})"
        )


def measure_fill_speed(network: PreTrainedModel, answer: Answer) -> list[FillSpeed]:
    """A row for each batch size."""
    length = min(ROW, positions_of(network.config) or ROW)
    return [_measure(network, answer, batch, length) for batch in BATCHES]


def _measure(network: PreTrainedModel, answer: Answer, batch: int, length: int) -> FillSpeed:
    generator = torch.Generator().manual_seed(0)
    rows = torch.randint(ids_in(network.config), (batch, length), generator=generator).to(network.device)
    gaps = (torch.rand((batch, length), generator=generator) < GAPS).to(network.device)
    ours, theirs = alternate(network.device, lambda: answer(rows, gaps), lambda: network(input_ids=rows))
    return FillSpeed(batch=batch, row_tokens=length, fill=batch * length / ours, transformers=batch * length / theirs)
