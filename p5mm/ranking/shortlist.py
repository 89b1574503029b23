"""Which of the candidates found the decoder reads; it is what costs most of a recommendation."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Shortlist:
    """How many candidates the decoder reads.

    Attributes:
        taken: Of the items that somebody took, the retriever's best.
        new: Of the others.
    """

    taken: int
    new: int

    def columns(self, rows: NDArray[np.int64], trained: NDArray[np.bool_]) -> NDArray[np.int64]:
        """The columns of candidates that are read, ascending.

        Args:
            rows: ``[b, n]`` catalog rows, -1 for none: items that somebody took, best first, then
                new ones, best first.
            trained: ``[items]`` True where somebody took an item.
        """
        new = ((rows >= 0) & ~trained[np.maximum(rows, 0)]).any(axis=0)
        best = np.flatnonzero(~new)[: self.taken], np.flatnonzero(new)[: self.new]
        return np.concatenate(best)


def completed(
    logits: NDArray[np.float32], rows: NDArray[np.int64], columns: NDArray[np.int64]
) -> NDArray[np.float32]:
    """The decoder's logits ``[b, n]`` of all candidates: unread ones count as the least likely.

    Args:
        logits: ``[b, m]`` of the columns read.
        rows: ``[b, n]`` catalog rows, -1 for none.
        columns: ``[m]``.
    """
    least = np.where(rows[:, columns] < 0, np.inf, logits).min(
        axis=1, keepdims=True, initial=np.inf
    )
    least = np.where(np.isinf(least), 0.0, least).astype(np.float32)
    found = np.repeat(least, rows.shape[1], axis=1)
    found[:, columns] = logits
    return found
