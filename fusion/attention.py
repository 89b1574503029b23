"""Attention pooling: k learned queries look at the modalities as tokens."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from p5mm.fusion.base import Fusion, fusions, projections


@fusions.register("attention")
class AttentionFusion(Fusion):
    """Each soft token is a learned query's softmax average over the modalities present.

    One-head pooling by learned queries (Set Transformer, Lee et al. 2019, section 3.2). Each query
    has values of its own, or an item of one modality would give k times the same token.
    """

    def __init__(self, dims: Mapping[str, int], d: int, k: int) -> None:
        super().__init__(dims, d, k)
        self.key = projections(dims, d)
        self.value = projections(dims, k * d)
        self.query = nn.Parameter(torch.randn(k, d) * d**-0.5)

    def forward(self, vectors: Mapping[str, Tensor], present: Tensor) -> Tensor:
        """See ``Fusion.forward``."""
        keys = torch.stack([self.key[name](vectors[name]) for name in self.modalities], dim=1)
        values = torch.stack([self._values(name, vectors[name]) for name in self.modalities], dim=1)
        logits = torch.einsum("kd,nmd->nkm", self.query, keys) * self.d**-0.5
        weights = logits.masked_fill(~present[:, None, :], -torch.inf).softmax(dim=-1)
        weights = weights.nan_to_num(0.0)  # an item without any modality
        return torch.einsum("nkm,nmkd->nkd", weights, values)

    def _values(self, name: str, vectors: Tensor) -> Tensor:
        """``[n, k, d]`` of one modality."""
        return torch.unflatten(self.value[name](vectors), -1, (self.k, self.d))
