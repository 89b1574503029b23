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

    def columns(
        self, rows: NDArray[np.int64], trained: NDArray[np.bool_]
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Which candidates of each line are read, whatever the other lines hold.

        Args:
            rows: ``[b, n]`` catalog rows, the best of each kind first; -1 for none.
            trained: ``[items]`` True where somebody took an item.

        Returns:
            Their columns ``[b, m]``, ascending, and True where there is one.
        """
        there = rows >= 0
        taken = there & trained[np.maximum(rows, 0)]
        new = there & ~taken
        chosen = (taken & (taken.cumsum(axis=1) <= self.taken)) | (
            new & (new.cumsum(axis=1) <= self.new)
        )
        most = max(1, int(chosen.sum(axis=1).max(initial=0)))  # a network is never given nothing
        columns = np.argsort(~chosen, axis=1, kind="stable")[:, :most]
        return columns, np.take_along_axis(chosen, columns, axis=1)


def completed(
    logits: NDArray[np.float32],
    columns: NDArray[np.int64],
    there: NDArray[np.bool_],
    width: int,
) -> NDArray[np.float32]:
    """The decoder's logits ``[b, width]`` of all candidates: unread ones count as the least likely.

    Args:
        logits: ``[b, m]`` of the columns read.
        columns: ``[b, m]``.
        there: ``[b, m]`` True where there is one.
        width: Of the candidates.
    """
    least = np.where(there, logits, np.inf).min(axis=1, keepdims=True, initial=np.inf)
    least = np.where(np.isinf(least), 0.0, least).astype(np.float32)
    found = np.repeat(least, width, axis=1)
    np.put_along_axis(found, columns, np.where(there, logits, least), axis=1)
    return found
