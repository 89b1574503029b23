"""Several faiss indexes searched as one: their rows follow each other."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from p5mm.retrieval.selected import Selected


class Several:
    """The best rows of several indexes, each of which gives its own.

    Args:
        parts: faiss indexes of one dimension, or `Selected` rows of them.
        sizes: How many rows each has.
    """

    def __init__(self, parts: Sequence[Any], sizes: Sequence[int]) -> None:
        self.d = parts[0].d
        self._parts = parts
        self._starts = np.cumsum([0, *sizes])

    def among(self, rows: NDArray[np.int64]) -> "Several":
        """The same indexes, of which only some rows ``[m]``, ascending, may be found."""
        bounds = np.searchsorted(rows, self._starts)
        of = [
            rows[low:high] - start
            for low, high, start in zip(bounds, bounds[1:], self._starts, strict=False)
        ]
        parts = [
            part.among(own) if isinstance(part, Selected) else Selected(part, own)
            for part, own in zip(self._parts, of, strict=True)
        ]
        return Several(parts, [len(own) for own in of])

    def search(
        self, queries: NDArray[np.float32], k: int
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Scores and rows ``[b, k]``, best first; -1 where nothing more was found."""
        scores, rows = [], []
        for part, start, end in zip(self._parts, self._starts, self._starts[1:], strict=False):
            if end > start:
                own, found = part.search(queries, min(k, int(end - start)))
                scores.append(np.where(found < 0, -np.inf, own))
                rows.append(np.where(found < 0, -1, found + start))
        joined, all_rows = np.hstack(scores), np.hstack(rows)
        best = np.argsort(-joined, axis=1, kind="stable")[:, :k]
        return (
            np.take_along_axis(joined, best, axis=1).astype(np.float32),
            np.take_along_axis(all_rows, best, axis=1),
        )
