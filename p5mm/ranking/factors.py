"""Items as points in few dimensions, by who took them."""

from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.sparse.linalg import svds

from p5mm.data.histories import Histories
from p5mm.ranking.similarity import recency

SIZE = 128
DENSE = 2 * SIZE  # a log of so few users or items is decomposed whole
NULL = 1e-4  # of the largest singular value: below it a direction says nothing


def factors(train: Histories, items: int) -> NDArray[np.float32]:
    """``[items, k]`` unit vectors of items by who took them, zero where nobody did; k <= 128.

    The right singular vectors of users by items, each entry over the root of both degrees: the
    ideal low-pass filter of Shen et al. 2021 (How Powerful is Graph Convolution for
    Recommendation?, section 4). Items are alike here that nobody took together, but that were
    taken by users who are alike.

    Args:
        train: Histories in catalog rows.
        items: Size of the catalog.
    """
    by_user = recency(train, items, 1.0)
    degrees = (np.asarray(by_user.sum(axis=axis)).ravel() for axis in (1, 0))
    users, taken = (sp.diags(1 / np.sqrt(np.maximum(degree, 1))) for degree in degrees)
    values, vectors = _decomposed((users @ by_user @ taken).tocsr())
    vectors = vectors[:, values > NULL * values.max()]
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: NDArray[np.float32] = np.where(
        lengths > NULL, vectors / np.maximum(lengths, NULL), 0
    ).astype(np.float32)
    return unit


def _decomposed(matrix: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The largest singular values ``[k]`` and their right vectors ``[items, k]``."""
    if min(matrix.shape) <= DENSE:
        _, values, vectors = np.linalg.svd(matrix.toarray(), full_matrices=False)
        return values[:SIZE], vectors[:SIZE].T
    start = np.random.default_rng(0).random(min(matrix.shape))
    _, values, vectors = svds(matrix, SIZE, v0=start, return_singular_vectors="vh")
    return values, vectors.T
