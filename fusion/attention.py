"""Attention pooling: k learned queries look at the modalities as tokens."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from p5mm.fusion.base import Fusion, fusions, projections


@fusions.register("attention")
class AttentionFusion(Fusion):
    """Each soft token is a learned query's softmax average over the modalities present.

    One-head pooling by learned queries (Set Transformer, Lee et al. 2019, section 3.2).
    """

    def __init__(self, dims: Mapping[str, int], d: int, k: int) -> None:
        super().__init__(dims, d, k)
        self.key = projections(dims, d)
        self.value = projections(dims, d)
        self.query = nn.Parameter(torch.randn(k, d) * d**-0.5)

    def forward(self, vectors: Mapping[str, Tensor], present: Tensor) -> Tensor:
        """See ``Fusion.forward``."""
        keys = torch.stack([self.key[name](vectors[name]) for name in self.modalities], dim=1)
        values = torch.stack([self.value[name](vectors[name]) for name in self.modalities], dim=1)
        logits = torch.einsum("kd,nmd->nkm", self.query, keys) * self.d**-0.5
        weights = logits.masked_fill(~present[:, None, :], -torch.inf).softmax(dim=-1)
        pooled: Tensor = weights.nan_to_num(0.0) @ values
        return pooled
