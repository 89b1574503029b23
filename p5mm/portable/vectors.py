"""Vectors of items as they lie in memory: whole, or in bytes with a scale each."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from p5mm.arrays import Expected

BYTE = 127
NOTHING = 1e-30  # a vector of less is one of zeros: float32 has no scale that is finer


@dataclass(frozen=True)
class Vectors:
    """A vector an item.

    Attributes:
        values: ``[n, d]`` float32, or int8.
        scale: ``[n]`` float32 what the bytes of each are multiplied by; None where they are whole.
    """

    values: NDArray[Any]
    scale: NDArray[np.float32] | None = None

    @classmethod
    def of(cls, vectors: NDArray[np.float32], int8: bool) -> "Vectors":
        """Of vectors ``[n, d]``; in bytes, each is off by at most 1/254 of its largest value."""
        if not int8:
            return cls(np.ascontiguousarray(vectors))
        most = np.abs(vectors).max(axis=1, initial=0)
        scale = np.where(most > NOTHING, most / BYTE, 1).astype(np.float32)
        return cls(np.rint(vectors / scale[:, None]).astype(np.int8), scale)

    @classmethod
    def read(
        cls, arrays: Mapping[str, NDArray[Any]], name: str, items: int, int8: bool
    ) -> "Vectors":
        """What ``arrays`` wrote.

        Raises:
            InputError: The arrays are other ones.
        """
        values = arrays[name]
        if not int8:
            Expected((items, None)).check(values, name)
            return cls(values)
        Expected((items, None), ("int8",), -BYTE).check(values, name)
        scale = arrays[f"{name}.scale"]
        Expected((items,), low=0).check(scale, f"{name}.scale")
        return cls(values, scale)

    def arrays(self, name: str) -> dict[str, NDArray[Any]]:
        """The arrays by name, to be written."""
        scale = {} if self.scale is None else {f"{name}.scale": self.scale}
        return {name: self.values} | scale

    @property
    def width(self) -> int:
        """Length of a vector."""
        return int(self.values.shape[1])

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """The vectors ``[..., d]`` float32 of rows ``[...]``."""
        found: NDArray[np.float32] = self.values[rows]
        return found if self.scale is None else found * self.scale[rows][..., None]
