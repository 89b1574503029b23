"""Which places items that nobody has taken get: how they compete beyond the first page."""

import numpy as np
from numpy.typing import NDArray

from p5mm.retrieval.ties import settle

PAGE = 10  # places that all items compete for alike
BEYOND = 1e3  # how far all items that were not reranked stand below those that were
GAP = 1e-3  # what the first item beyond the page stands below the last one on it, at the least


def best(
    rows: NDArray[np.int64], scores: NDArray[np.float32], k: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The ``k`` best of rows and their scores, both ``[b, n]``, best first."""
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(rows, order, 1), np.take_along_axis(scores, order, 1)


def lifted(scores: NDArray[np.float32], new: NDArray[np.bool_], lift: float) -> NDArray[np.float32]:
    """Scores ``[b, n]`` by which new items stand higher, but for the first ``PAGE`` places.

    Who is on the first page, and in which order, stays as it is. Where a lifted item would come
    before the page's last, all that is not on the page is lowered together, so scores fall along
    the list.

    Args:
        scores: Combined scores; minus infinity where there is no candidate.
        new: ``[b, n]`` bool, True where nobody has taken the candidate.
        lift: What is added to their scores.
    """
    if not lift or scores.shape[1] <= PAGE:
        return scores
    order = np.argsort(-scores, axis=1, kind="stable")
    settle(order, np.take_along_axis(scores, order, axis=1))
    page = order[:, :PAGE]
    beyond = np.ones_like(new)
    np.put_along_axis(beyond, page, False, axis=1)
    last = np.take_along_axis(scores, page[:, -1:], axis=1)
    raised = np.where(beyond, scores + np.float32(lift) * new, np.float32(-np.inf))
    best = raised.max(axis=1, keepdims=True)
    over = best > last
    lowered = np.where(over, best - np.where(over, last, 0) + np.float32(GAP), 0)
    return np.where(beyond, raised - lowered, scores)
