"""Gradients of the tables of a network, in memory that stays from step to step. A table's megabytes are as many as its
vocabulary is large, whatever the batch: of 30,522 x 384, zeros for the embedding's rows, the head's product in bf16, in
fp32, and their sum were a fifth of a step of 1,000 tokens, most of it spent by the kernel on new pages.

So the head adds its product to `.grad` itself, some classes at a time, and the rows that an embedding looked up are
added to `.grad` one by one, as torch does with a gradient that is sparse. What comes out is the same sum in another
order.
"""

import torch
from torch import nn
from transformers import PreTrainedModel

# Zeros that are new each time cost nothing below: the allocator gives the same pages again (runner/compile.py)
LARGE_BYTES = 4 * 2**20
# Rows of a matrix that are cast, multiplied and added while they stay in a processor's cache: 3 MB in fp32 at a width
# of 384
BLOCK_BYTES = 3 * 2**20


class KeptGradient:
    """Of `parameter`, whose `.grad` whoever steps sets to None."""

    def __init__(self, parameter: nn.Parameter) -> None:
        self.parameter = parameter
        self._memory = torch.zeros_like(parameter)

    def add(self, gradient_CH: torch.Tensor | None, factor: torch.Tensor) -> None:
        """`gradient_CH` (None: nothing was predicted) times `factor`, of the parameter's first C rows."""
        first = self.parameter.grad is None
        if first:
            self.parameter.grad = self._memory
            self._memory[0 if gradient_CH is None else len(gradient_CH) :] = 0
        if gradient_CH is None or self.parameter.grad is None:
            return
        gradient = self.parameter.grad
        count = max(BLOCK_BYTES // (gradient.shape[1] * gradient.itemsize), 1)
        for start in range(0, len(gradient_CH), count):
            rows = slice(start, min(start + count, len(gradient_CH)))
            scaled = gradient_CH[rows].to(gradient.dtype) * factor
            if first:
                gradient[rows] = scaled
            else:
                gradient[rows].add_(scaled)


class KeptEmbedding(nn.Embedding):
    """A table that shares its matrix with no head."""

    memory: torch.Tensor

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        if torch.is_grad_enabled() and self.weight.requires_grad and self.weight.grad is None:
            self.weight.grad = self.memory.zero_()
        return super().forward(input)


def keep_gradients(network: PreTrainedModel) -> None:
    """Of the network's head and its embeddings. For gradients that are the parameters' own `.grad`, on a processor."""
    head = network.get_output_embeddings()
    if head is not None:  # a head of labels is small
        head.kept_gradient = KeptGradient(head.weight)
    for module in network.modules():
        if type(module) is nn.Embedding and head is not None and module.weight is head.weight:
            module.sparse = True
        elif type(module) is nn.Embedding and module.weight.nbytes >= LARGE_BYTES:
            module.__class__, module.sparse = KeptEmbedding, True
            module.memory = torch.zeros_like(module.weight)


def kept_gradient(head: nn.Module) -> KeptGradient | None:
    return getattr(head, "kept_gradient", None)
