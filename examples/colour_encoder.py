"""A third modality in twenty lines: which colours a picture has.

In a config, from this folder: ``encoders: {others: ["colour_encoder:ColourEncoder"]}``.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from p5mm.encoders.picture import read_picture


class ColourEncoder:
    """A histogram of 4 x 4 x 4 colours; fusion and retrieval see one more modality, "colour"."""

    modality = "colour"
    source = "image"  # the catalog's field that it reads
    dim = 64
    fingerprint = "colour histogram 4x4x4, version 1"

    def load(self, raw: Path | bytes) -> NDArray[np.int64]:
        """Each pixel's colour, 0 to 63; a broken picture is refused by ``read_picture``."""
        red, green, blue = (
            np.asarray(read_picture(raw, 64).resize((64, 64))).T.astype(np.int64) // 64
        )
        return np.ravel(16 * red + 4 * green + blue)

    def encode(self, batch: Sequence[NDArray[np.int64]]) -> NDArray[np.float32]:
        """Square roots of the shares: the inner product is the Bhattacharyya coefficient."""
        counts = [np.bincount(colours, minlength=self.dim) / colours.size for colours in batch]
        return np.sqrt(np.asarray(counts, dtype=np.float32).reshape(-1, self.dim))
