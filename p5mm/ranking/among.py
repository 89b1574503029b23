"""A scorer of some items of a catalog, which counts in those items only."""

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from p5mm.data.histories import Histories


class Scores(Protocol):
    """Scores the whole catalog."""

    def scores(self, histories: Histories, seen: bool = False) -> NDArray[np.float32]:
        """``[b, n]`` final scores; see `p5mm.ranking.scorer.Scorer.scores`."""


@dataclass(frozen=True)
class Among:
    """Scores some of the items: histories and scores count in those only.

    Attributes:
        scorer: Of the whole catalog.
        rows: Catalog rows of the items.
        seen: What a history holds may be a candidate.
    """

    scorer: Scores
    rows: NDArray[np.int64]
    seen: bool = False

    def scores(self, histories: Histories) -> NDArray[np.float32]:
        """``[b, len(rows)]`` final scores."""
        whole = replace(histories, items=self.rows[histories.items])
        return self.scorer.scores(whole, self.seen)[:, self.rows]
