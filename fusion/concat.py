"""Concat: all modalities side by side through one linear map."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from p5mm.fusion.base import Fusion, fusions, projection


@fusions.register("concat")
class ConcatFusion(Fusion):
    """``W [z_1; z_2; ...] + b``, with a learned vector in the place of an absent modality."""

    def __init__(self, dims: Mapping[str, int], d: int, k: int) -> None:
        super().__init__(dims, d, k)
        self.project = projection(sum(dims.values()), k * d)
        self.absent = nn.ParameterDict(
            {name: nn.Parameter(torch.zeros(dim)) for name, dim in dims.items()}
        )

    def forward(self, vectors: Mapping[str, Tensor], present: Tensor) -> Tensor:
        """See ``Fusion.forward``."""
        parts = [
            torch.where(present[:, i, None], vectors[name], self.absent[name])
            for i, name in enumerate(self.modalities)
        ]
        mixed = self.project(torch.cat(parts, dim=-1)) * present.any(dim=1, keepdim=True)
        return torch.unflatten(mixed, -1, (self.k, self.d))
