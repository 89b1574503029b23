"""What a fusion is: vectors of several modalities in, k soft tokens an item out."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from p5mm.registry import Registry

fusions: Registry[Any] = Registry(
    "fusion",
    "p5mm.fusion",
    modules=("p5mm.fusion.attention", "p5mm.fusion.concat", "p5mm.fusion.gate"),
)


class Fusion(nn.Module):
    """Base of all fusions.

    Args:
        dims: Vector length of each modality, in the order of the presence mask's columns.
        d: Width of a soft token.
        k: Soft tokens an item.
    """

    def __init__(self, dims: Mapping[str, int], d: int, k: int) -> None:
        super().__init__()
        self.modalities = tuple(dims)
        self.d = d
        self.k = k

    def forward(self, vectors: Mapping[str, Tensor], present: Tensor) -> Tensor:
        """Soft tokens ``[n, k, d]``.

        Args:
            vectors: ``[n, dim]`` a modality; rows where it is absent hold nothing of meaning.
            present: ``[n, modalities]`` bool, True where the item has the modality. An item with
                none gets zero tokens.
        """
        raise TypeError(f"{type(self).__name__} must define forward(vectors, present)")


def projections(dims: Mapping[str, int], width: int) -> nn.ModuleDict:
    """One linear map a modality to a common width."""
    return nn.ModuleDict({name: nn.Linear(dim, width) for name, dim in dims.items()})
