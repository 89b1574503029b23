"""Content vectors at one scale, whatever encoder they come from."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from p5mm.errors import InputError

NEGLIGIBLE = 1e-6  # axes whose variance is below this share of the widest are left out
LARGEST, SMALLEST = 1e15, 1e-15  # squares of values outside lose their meaning in float32


@dataclass(frozen=True)
class Standardiser:
    """``(z - mean) @ axes``: centred, optionally whitened, unit average square.

    Whitening rotates to principal axes of equal variance, which undoes the anisotropy of
    pretrained encoders (WhitenRec, Zhang et al. 2024). The variances are shrunk as far as there are
    too few vectors to know them (Ledoit and Wolf 2004): the fewer, the less is whitened.

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
            whiten: Whether to whiten.

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
        axes = _whitening(centred.astype(np.float64)) if whiten else np.eye(dim)
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


def _whitening(centred: NDArray[np.float64]) -> NDArray[np.float64]:
    """Principal axes ``[dim, out]`` of vectors ``[n, dim]``, each over its spread."""
    n, dim = centred.shape
    covariance = centred.T @ centred / n
    mean = covariance.trace() / dim
    if mean < SMALLEST**2:  # all vectors are alike, and say nothing
        return np.eye(dim)
    even = mean * np.eye(dim)
    lengths = np.square(centred).sum(axis=1)
    noise = np.square(lengths).sum() / n**2 - np.square(covariance).sum() / n
    distance = np.square(covariance - even).sum()
    shrunk = min(1.0, max(0.0, noise / distance)) if distance > 0 else 1.0
    values, axes = np.linalg.eigh((1 - shrunk) * covariance + shrunk * even)
    keep = values > NEGLIGIBLE * values[-1]
    return np.asarray(axes[:, keep] / np.sqrt(values[keep]))
