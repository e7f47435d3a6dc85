"""GUIDE: the embeddings of a narrow student are those of its teacher in their principal components, and the first layer
(or all of them) is the teacher's layer, turned into the same components.

    E_T [V, H]      the teacher's embeddings; mu its mean row; M [H, h] the h directions in which its rows vary most
    E     = (E_T - mu) M                    centred, neither whitened nor (embedding_scale: teacher) rescaled
    Wqkv  = for each of Q, K, V: (W_T M)    the first h rows, which are the teacher's first heads
    Wo    = M^T (W_T with its first h columns)
    Wi    = for each half: (W_T M)          the first rows, as many as the student is wide inside
    mlp.Wo = M^T (W_T with as many columns)

Norms stay ones, the head stays new, the decoder is tied to E. The row of the padding, which transformers keeps at zero,
is set to zero afterwards. Directions have a sign by rule: their largest entry is positive.
"""

import math
from dataclasses import dataclass

import torch
from torch import nn
from transformers import PreTrainedModel

from runjob.schemas.job_model import GuideInit

TABLE = "model.embeddings.tok_embeddings.weight"


@dataclass(frozen=True, kw_only=True)
class Projection:
    """`explained_variance`: the share of the embeddings' variance that the student's components hold; the root mean
    squares are those of its embeddings' entries, as projected and as they are now."""

    explained_variance: float
    projected_rms: float
    embedding_rms: float


def project(network: PreTrainedModel, teacher: PreTrainedModel, init: GuideInit) -> tuple[Projection, dict[str, str]]:
    """Fill the student; which of its tensors come of which of the teacher's."""
    places = dict(network.named_parameters())
    given = dict(teacher.named_parameters())
    table_VH = given[TABLE][: places[TABLE].shape[0]].double()
    mean_H = table_VH.mean(dim=0)
    axes_Hh, explained = principal_axes(table_VH - mean_H, init.hidden_size)
    embeddings_Vh = (table_VH - mean_H) @ axes_Hh
    projected = rms(embeddings_Vh)
    if init.embedding_scale == "fresh":
        embeddings_Vh *= rms(places[TABLE]) / projected
    places[TABLE].copy_(embeddings_Vh)
    sources = {TABLE: TABLE}
    for layer, origin in layers_of(init, teacher).items():
        sources |= _project_layer(places, given, layer=layer, origin=origin, axes_Hh=axes_Hh)
    report = Projection(
        explained_variance=explained, projected_rms=projected, embedding_rms=rms(places[TABLE].double())
    )
    return report, sources


def principal_axes(centred_VH: torch.Tensor, width: int) -> tuple[torch.Tensor, float]:
    """The `width` orthonormal directions of the largest variance, largest first, as columns; their share of it."""
    covariance_HH = centred_VH.T @ centred_VH / (centred_VH.shape[0] - 1)
    variances_H, directions_HH = torch.linalg.eigh(covariance_HH)
    axes_Hh = directions_HH.flip(1)[:, :width]
    largest_h = axes_Hh.gather(0, axes_Hh.abs().argmax(dim=0, keepdim=True))[0]
    explained = float(variances_H.flip(0)[:width].sum() / variances_H.sum())
    return axes_Hh * largest_h.sign(), explained


def layers_of(init: GuideInit, teacher: PreTrainedModel) -> dict[int, int]:
    """Layer of the student -> layer of the teacher."""
    if init.layers == "first":
        return {0: 0}
    count = int(teacher.config.num_hidden_layers)
    return {layer: layer * count // init.num_hidden_layers for layer in range(init.num_hidden_layers)}


def _project_layer(
    places: dict[str, nn.Parameter],
    given: dict[str, nn.Parameter],
    *,
    layer: int,
    origin: int,
    axes_Hh: torch.Tensor,
) -> dict[str, str]:
    sources = {}
    # (tensor, parts that its rows are cut into; 0: it writes into the stream, and its columns are cut)
    for name, parts in (("attn.Wqkv", 3), ("attn.Wo", 0), ("mlp.Wi", 2), ("mlp.Wo", 0)):
        mine, theirs = f"model.layers.{layer}.{name}.weight", f"model.layers.{origin}.{name}.weight"
        place, weight = places[mine], given[theirs].double()
        if parts:
            rows = place.shape[0] // parts
            place.copy_(torch.cat([(part @ axes_Hh)[:rows] for part in weight.chunk(parts)]))
        else:
            place.copy_(axes_Hh.T @ weight[:, : place.shape[1]])
        sources[mine] = theirs
    return sources


def rms(values: torch.Tensor) -> float:
    """Root mean square."""
    return math.sqrt(float(values.double().square().mean()))
