"""Vectors that the catalog already has: any column of lists of floats is a modality."""

from collections import Counter
from collections.abc import Sequence
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from p5mm.encoders.base import encoders


@encoders.register("vector")
class VectorColumn:
    """Takes a column's vectors as they are; the most common length is the column's.

    Args:
        column: The catalog's column, and the modality's name.
    """

    one_thread = True

    def __init__(self, column: str) -> None:
        self.modality = column
        self.source = column
        self.dim = 0

    @property
    def fingerprint(self) -> str:
        """Vectors are compared by column and length; no weights stand behind them."""
        return blake2b(f"vector {self.source} {self.dim}".encode(), digest_size=16).hexdigest()

    def prepare(self, raws: Sequence[Any]) -> None:
        """Learns the length of the vectors, unless it is known."""
        lengths = Counter(np.size(raw) for raw in raws if raw is not None)
        if not self.dim and lengths:
            self.dim = lengths.most_common(1)[0][0]

    def load(self, raw: Any) -> NDArray[np.float32]:
        """A list of floats to ``[dim]`` float32.

        Raises:
            ValueError: Not finite floats, or of another length.
        """
        try:
            vector = np.asarray(raw, dtype=np.float32)
        except (TypeError, ValueError):
            raise ValueError("not a list of floats") from None
        if vector.ndim != 1 or not vector.size or (self.dim and vector.size != self.dim):
            raise ValueError(f"a vector of shape {list(vector.shape)}, not [{self.dim or 'dim'}]")
        if not np.isfinite(vector).all():
            raise ValueError("a vector with NaN or infinity")
        return vector

    def encode(self, batch: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        """The vectors, stacked: ``[n, dim]`` float32."""
        if not batch:
            return np.zeros((0, self.dim), dtype=np.float32)
        return np.stack(batch)
