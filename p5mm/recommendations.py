"""Recommendations as tables, and the candidates that they are made of."""

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

from p5mm.histories import Histories


def first_unseen(
    rows: NDArray[np.int64], asked: Histories, items: int, wanted: int
) -> NDArray[np.int64]:
    """The first rows of each line that its history does not hold.

    Args:
        rows: ``[b, n]`` item rows, best first; -1 for none.
        asked: ``b`` histories.
        items: Size of the catalog.
        wanted: How many rows are kept.

    Returns:
        ``[b, wanted]`` (fewer where n is less), -1 beyond the last.
    """
    lines = np.arange(len(asked))
    seen = np.repeat(lines, asked.lengths) * items + asked.items
    new = (rows >= 0) & ~np.isin(rows + lines[:, None] * items, seen)
    order = np.argsort(~new, axis=1, kind="stable")[:, :wanted]
    kept = np.take_along_axis(rows, order, axis=1)
    return np.where(np.take_along_axis(new, order, axis=1), kept, -1)


def recommendation_table(
    users: ArrayLike, items: ArrayLike, scores: ArrayLike, ranks: ArrayLike
) -> pa.Table:
    """Columns ``user_id``, ``item_id``, ``score``, ``rank`` of four equally long arrays."""
    return pa.table(
        {
            "user_id": pa.array(users, pa.string()),
            "item_id": pa.array(items, pa.string()),
            "score": pa.array(scores, pa.float32()),
            "rank": pa.array(ranks, pa.int32()),
        }
    )
