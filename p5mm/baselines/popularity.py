"""The same ranking for everybody: how often an item was taken in training."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from p5mm.baselines.base import Arrays, baselines
from p5mm.data.histories import Histories
from p5mm.data.split import Split


@baselines.register("popularity")
@dataclass
class Popularity:
    """Training counts as scores; it has no settings."""

    def fit(self, split: Split, n_items: int) -> None:
        """Count the items of the training part."""
        self.counts = np.bincount(split.train.items, minlength=n_items).astype(np.float32)

    def scores(self, histories: Histories) -> NDArray[np.float32]:
        """``[b, n_items]`` float32, the same row for every history."""
        return np.tile(self.counts, (len(histories), 1))

    def n_items(self) -> int:
        """Size of the catalog that it was fitted on."""
        return len(self.counts)

    def arrays(self) -> Arrays:
        """The counts."""
        return {"counts": self.counts}

    def restore(self, arrays: Arrays) -> None:
        """Take the counts back.

        Raises:
            ValueError: They are no list of numbers.
        """
        if arrays["counts"].ndim != 1:
            raise ValueError("the counts of popularity are no list")
        self.counts = arrays["counts"]
