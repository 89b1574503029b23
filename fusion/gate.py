"""Gate: a weighted sum of projected modalities; each item weighs its own."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from p5mm.fusion.base import Fusion, fusions, projections


@fusions.register("gate")
class GateFusion(Fusion):
    """``sum_m g_m(z) P_m z_m`` with gates that sum to one over the modalities present.

    The gate of a modality is a linear score of its own projection (gated multimodal unit,
    Arevalo et al. 2017, with a softmax so that absent modalities leave the rest at full weight).
    """

    def __init__(self, dims: Mapping[str, int], d: int, k: int) -> None:
        super().__init__(dims, d, k)
        self.project = projections(dims, k * d)
        scores = {name: nn.Linear(k * d, 1) for name in dims}
        for score in scores.values():
            nn.init.zeros_(score.weight)
            nn.init.zeros_(score.bias)
        self.score = nn.ModuleDict(scores)

    def forward(self, vectors: Mapping[str, Tensor], present: Tensor) -> Tensor:
        """See ``Fusion.forward``."""
        projected = [self.project[name](vectors[name]) for name in self.modalities]
        scores = [self.score[name](p) for name, p in zip(self.modalities, projected, strict=True)]
        gates = torch.cat(scores, dim=-1).masked_fill(~present, -torch.inf).softmax(dim=-1)
        gates = gates.nan_to_num(0.0)  # an item without any modality
        mixed = (torch.stack(projected, dim=1) * gates[..., None]).sum(dim=1)
        return torch.unflatten(mixed, -1, (self.k, self.d))
