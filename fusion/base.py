"""What a fusion is: vectors of several modalities in, k soft tokens an item out."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from p5mm.registry import Registry

# Items are compared by angle, so the scale of their vectors only sets how fast they turn: a small
# start and AdamW's fixed step turn them several per cent a step.
SCALE = 0.02

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
            vectors: ``[n, dim]`` a modality; rows where it is absent are finite and mean nothing.
            present: ``[n, modalities]`` bool, True where the item has the modality. An item with
                none gets zero tokens.
        """
        raise TypeError(f"{type(self).__name__} must define forward(vectors, present)")


def projections(dims: Mapping[str, int], width: int) -> nn.ModuleDict:
    """One linear map a modality to a common width."""
    return nn.ModuleDict({name: projection(dim, width) for name, dim in dims.items()})


def projection(dim: int, width: int) -> nn.Linear:
    """A linear map that brings vectors of unit average square to the scale of an id residual."""
    linear = nn.Linear(dim, width)
    nn.init.normal_(linear.weight, std=SCALE * dim**-0.5)
    nn.init.zeros_(linear.bias)
    return linear
