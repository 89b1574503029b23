"""The last items of a history: in a window, or all of them, fading."""

from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from p5mm.data.histories import Histories


def recency(histories: Histories, n_items: int, decay: float) -> Any:
    """``[users, n_items]`` CSR float32 with decay^(places before the last) at each item taken."""
    ends = np.repeat(histories.offsets[1:], histories.lengths)
    from_end = ends - 1 - np.arange(len(histories.items))
    # No smaller than float32 can hold: a long history underflows without it.
    values = np.power(np.float32(decay), np.minimum(from_end, 100), dtype=np.float32)
    entries = (values, histories.items, histories.offsets)
    matrix = sp.csr_matrix(entries, shape=(len(histories), n_items), dtype=np.float32)
    matrix.sum_duplicates()
    return matrix


def latest(
    histories: Histories, reach: int, rating_scale: tuple[float, float]
) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.bool_]]:
    """The last items ``[b, s]``, latest first: rows, scaled ratings, True where there is one.

    A rating that is not known counts as the mean.

    Args:
        histories: ``b`` histories.
        reach: Items that are looked at, from the end; s is at least 1.
        rating_scale: Mean and spread of ratings in training.
    """
    lengths = np.minimum(histories.lengths, reach)
    places = np.arange(max(1, lengths.max(initial=1)))
    real = places < lengths[:, None]
    take = np.where(real, histories.offsets[1:, None] - 1 - places, 0)
    items = histories.items if len(histories.items) else np.zeros(1, dtype=np.int64)
    if histories.ratings is None or not len(histories.items):
        ratings = np.zeros(take.shape, dtype=np.float32)
    else:
        mean, spread = rating_scale
        ratings = np.nan_to_num((histories.ratings[take] - mean) / spread).astype(np.float32)
    return np.where(real, items[take], 0), ratings, real
