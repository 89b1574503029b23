"""The candidates of a recommendation: the retriever's best, from one index for all who ask."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from p5mm.data.histories import Histories
from p5mm.retrieval.index import VectorIndex


@dataclass(frozen=True)
class Candidates:
    """Finds candidates in an index of the items of which something is known.

    Attributes:
        index: Rows ``[vector, new]``: the retrieval vector of an item, and 1 where nobody has taken
            it. A query ``[query, -handicap * temperature]`` orders items as their logits do.
        rows: ``[m]`` int64 the catalog row of each row of the index, ascending.
        items: Size of the catalog.
    """

    index: VectorIndex
    rows: NDArray[np.int64]
    items: int

    def among(self, rows: NDArray[np.int64]) -> "Candidates":
        """The same index when only some catalog rows may be candidates."""
        places = np.flatnonzero(np.isin(self.rows, rows))
        return self if len(places) == len(self.rows) else Candidates(
            self.index.among(places), self.rows[places], self.items
        )  # fmt: skip

    def find(
        self, queries: NDArray[np.float32], histories: Histories, count: int, filter_seen: bool
    ) -> NDArray[np.int64]:
        """Catalog rows ``[b, count]`` (fewer columns in a small catalog), best first.

        Args:
            queries: ``[b, d + 1]``.
            histories: ``b`` histories, in catalog rows.
            count: How many candidates each gets.
            filter_seen: Leave out what the history holds.

        Returns:
            int64; -1 where there are no more candidates.
        """
        longest = int(histories.lengths.max(initial=0)) if filter_seen else 0
        places = self.index.rows(queries, min(count + longest, len(self.index)))
        rows = np.where(places < 0, -1, self.rows[places])
        return first_unseen(rows, histories, self.items, count) if filter_seen else rows


def first_unseen(
    rows: NDArray[np.int64], histories: Histories, items: int, count: int
) -> NDArray[np.int64]:
    """The first rows of each line that its history does not hold.

    Args:
        rows: ``[b, n]`` item rows, best first; -1 for none.
        histories: ``b`` histories.
        items: Size of the catalog.
        count: How many rows are kept.

    Returns:
        ``[b, count]`` (fewer where n is less), -1 beyond the last.
    """
    lines = np.arange(len(histories))
    seen = np.repeat(lines, histories.lengths) * items + histories.items
    new = (rows >= 0) & ~np.isin(rows + lines[:, None] * items, seen)
    order = np.argsort(~new, axis=1, kind="stable")[:, :count]
    kept = np.take_along_axis(rows, order, axis=1)
    return np.where(np.take_along_axis(new, order, axis=1), kept, -1)
