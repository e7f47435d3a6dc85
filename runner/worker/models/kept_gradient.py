"""The gradient of a vocabulary's matrix, in memory that stays from step to step. Its megabytes are as many as its
vocabulary is large, whatever the batch: of 30,522 x 384, zeros for the embedding's rows, the head's product in bf16, in
fp32, and their sum were a fifth of a step of 1,000 tokens, most of it spent by the kernel on new pages.

So the head adds its product to `.grad` by itself, some classes at a time, and where embedding and head are one matrix
the rows that the embedding looked up are added one by one, as torch does with a gradient that is sparse. What comes out
is the same sum in another order.
"""

import torch
from torch import nn
from transformers import PreTrainedModel

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


def keep_gradient(network: PreTrainedModel) -> None:
    """Of the network's head, and of its embedding where they are one matrix. For gradients that are the parameters' own
    `.grad`, on a processor."""
    head, embedding = network.get_output_embeddings(), network.get_input_embeddings()
    head.kept_gradient = KeptGradient(head.weight)
    if isinstance(embedding, nn.Embedding) and embedding.weight is head.weight:
        embedding.sparse = True


def kept_gradient(head: nn.Module) -> KeptGradient | None:
    return getattr(head, "kept_gradient", None)
