"""Content vectors at one scale, whatever encoder they come from."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from p5mm.errors import InputError

NEGLIGIBLE = 1e-3  # axes whose spread is below this share of the widest are left out
LARGEST, SMALLEST = 1e15, 1e-15  # squares of values outside lose their meaning in float32


@dataclass(frozen=True)
class Standardiser:
    """``(z - mean) @ axes``: centred, optionally whitened, unit average square.

    Whitening rotates to principal axes of equal variance, which undoes the anisotropy of
    pretrained encoders (WhitenRec, Zhang et al. 2024).

    Attributes:
        mean: ``[dim]``.
        axes: ``[dim, out]``.
    """

    mean: NDArray[np.float32]
    axes: NDArray[np.float32]

    @classmethod
    def fit(
        cls, vectors: NDArray[np.float32], present: NDArray[np.bool_], whiten: bool
    ) -> "Standardiser":
        """Learn the map from the vectors that are present.

        Args:
            vectors: ``[n, dim]``.
            present: ``[n]`` bool, True where the vector means something.
            whiten: Whether to whiten; left out where there are fewer vectors than dimensions.

        Raises:
            InputError: A value is beyond what can be squared.
        """
        known = vectors[present]
        dim = vectors.shape[1]
        if not len(known):
            return cls(np.zeros(dim, np.float32), np.eye(dim, dtype=np.float32))
        if np.abs(known).max() > LARGEST:
            raise InputError(
                f"a vector holds the value {np.abs(known).max():.1e}; give vectors with values of "
                f"at most {LARGEST:g}"
            )
        mean = known.mean(axis=0)
        centred = known - mean
        axes = np.eye(dim, dtype=np.float32)
        if whiten and len(known) > dim:
            _, sizes, rotated = np.linalg.svd(centred, full_matrices=False)
            keep = sizes > max(NEGLIGIBLE * sizes[0], SMALLEST)
            if keep.any():  # otherwise all vectors are alike, and say nothing
                axes = rotated[keep].T / sizes[keep]
        scale = float(np.sqrt(np.mean(np.square(centred @ axes))))
        if scale < SMALLEST:
            scale = 1.0
        return cls(mean.astype(np.float32), (axes / scale).astype(np.float32))

    @property
    def upright(self) -> "Standardiser":
        """The same map turned back: every axis as near as may be to one of the encoder's.

        Whitening by principal axes gives each catalog axes of its own; turned back (ZCA, Bell and
        Sejnowski 1997) those of several catalogs are near to each other, as in the alignment of
        domains by CORAL (Sun et al. 2016).
        """
        lengths = np.linalg.norm(self.axes, axis=0)
        return Standardiser(self.mean, self.axes @ (self.axes / lengths).T)

    def __call__(
        self, vectors: NDArray[np.float32], present: NDArray[np.bool_]
    ) -> NDArray[np.float32]:
        """``[n, out]`` float32, zero where absent."""
        mapped = (vectors - self.mean) @ self.axes
        return np.where(present[:, None], mapped, 0.0).astype(np.float32)
