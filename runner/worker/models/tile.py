"""Weight tiling as ModernBERT-large was begun from ModernBERT-base (Warner et al. 2024, appendix A.2): every tensor of
the student is the teacher's, laid into its middle and continued to all sides by starting over. Heads stay whole.

    teacher  1 2 3         student of 8  2 3 1 2 3 1 2 3         student of 1  2

The same rule cuts the middle out of a teacher that is wider. Layers come from where they lie in proportion (Rae et al.
2021, Gopher): layer i of N from layer round(i x teacher's N / N).
"""

from collections.abc import Set

import torch
from torch import nn
from transformers import PreTrainedModel

LAYERS = "model.layers."


def tile(network: PreTrainedModel, teacher: PreTrainedModel, *, lacking: Set[str]) -> dict[str, str]:
    """Fill the student; which of its tensors come of which of the teacher's. What the teacher has not (a norm before
    its first layer, a head that its checkpoint did not bring: `lacking`) stays new."""
    given = {name: value for name, value in teacher.named_parameters() if name not in lacking}
    depth, count = int(network.config.num_hidden_layers), int(teacher.config.num_hidden_layers)
    head = int(network.config.hidden_size // network.config.num_attention_heads)
    sources = {}
    for name, place in network.named_parameters():
        origin = origin_of(name, depth=depth, count=count)
        if origin in given:
            place.copy_(lay_out(name, given[origin], place, head=head))
            sources[name] = origin
    return sources


def origin_of(name: str, *, depth: int, count: int) -> str:
    """The teacher's name of a tensor: another layer's for those of a layer."""
    if not name.startswith(LAYERS):
        return name
    number, _, rest = name.removeprefix(LAYERS).partition(".")
    return f"{LAYERS}{min(round(int(number) * count / depth), count - 1)}.{rest}"


def lay_out(name: str, weight: torch.Tensor, place: nn.Parameter, *, head: int) -> torch.Tensor:
    """The teacher's tensor at the student's size."""
    if name == "model.embeddings.tok_embeddings.weight" or name == "decoder.bias":
        weight = weight[: place.shape[0]]  # one row a token, and spare rows that no token has
    new, old = place.shape[0], weight.shape[0]
    if name.endswith("attn.Wqkv.weight"):
        rows = fused(whole(new // 3, old // 3, size=head), parts=3, old=old)
    elif name.endswith("mlp.Wi.weight"):
        rows = fused(middle(new // 2, old // 2), parts=2, old=old)
    else:
        rows = middle(new, old)
    if weight.dim() == 1:
        return weight[rows]
    new, old = place.shape[1], weight.shape[1]
    columns = whole(new, old, size=head) if name.endswith("attn.Wo.weight") else middle(new, old)
    return weight[rows][:, columns]


def middle(new: int, old: int) -> torch.Tensor:
    """For each place of the student the teacher's.

    >>> middle(8, 3).tolist(), middle(2, 4).tolist()
    ([1, 2, 0, 1, 2, 0, 1, 2], [1, 2])
    """
    return (torch.arange(new) - (new - old) // 2) % old


def whole(new: int, old: int, *, size: int) -> torch.Tensor:
    """The same of runs of `size` places.

    >>> whole(6, 2, size=2).tolist()
    [0, 1, 0, 1, 0, 1]
    """
    runs = middle(new // size, old // size)
    return (runs[:, None] * size + torch.arange(size)).flatten()


def fused(index: torch.Tensor, *, parts: int, old: int) -> torch.Tensor:
    """The same rows in each of the parts that one tensor holds."""
    return (torch.arange(parts)[:, None] * (old // parts) + index).flatten()
