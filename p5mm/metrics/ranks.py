"""Ranks and ranking metrics, one number a user."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from p5mm.data.histories import Histories
from p5mm.errors import InputError

KS = (5, 10, 20)


def expected_ranks(
    scores: NDArray[np.floating], targets: NDArray[np.int64], seen: Histories | None = None
) -> NDArray[np.float64]:
    """The rank of each target among all items that are not seen; ties at their expected rank.

    Rank = 1 + number of greater scores + half the number of equal ones, which is the mean over
    all orders of the tied items. The target itself is never filtered.

    Args:
        scores: ``[b, n]`` float, higher is better; left unchanged.
        targets: ``[b]`` item rows.
        seen: ``b`` histories whose items do not compete; None filters nothing.

    Returns:
        ``[b]`` float64 ranks from 1.

    Raises:
        InputError: A score is NaN, or the shapes do not agree.
    """
    if len(scores) != len(targets) or (seen is not None and len(seen) != len(targets)):
        raise InputError(
            f"{len(scores)} rows of scores for {len(targets)} targets"
            + ("" if seen is None else f" and {len(seen)} histories")
            + "; give one row a target"
        )
    if np.isnan(scores).any():
        raise InputError("a score is NaN; give finite scores (or -inf for items to rank last)")
    target_scores = np.take_along_axis(scores, targets[:, None], axis=1)
    competing = scores
    if seen is not None:
        competing = scores.copy()
        # NaN compares false with everything: a filtered item is neither greater nor tied.
        competing[np.repeat(np.arange(len(seen)), seen.lengths), seen.items] = np.nan
        np.put_along_axis(competing, targets[:, None], target_scores, axis=1)
    greater = np.count_nonzero(competing > target_scores, axis=1)
    ties = np.count_nonzero(competing == target_scores, axis=1) - 1
    ranks: NDArray[np.float64] = 1.0 + greater + ties / 2
    return ranks


def metrics_per_user(
    ranks: NDArray[np.float64], ks: Sequence[int] = KS
) -> dict[str, NDArray[np.float64]]:
    """Metrics of one relevant item a user from its rank.

    With a single relevant item the ideal DCG is 1, so NDCG@k = 1 / log2(1 + rank) within the
    first k (Järvelin and Kekäläinen 2002), and hit@k equals recall@k.

    Args:
        ranks: ``[n]`` ranks from 1.
        ks: Cut-offs.

    Returns:
        ``recall@k``, ``ndcg@k`` and ``hit@k`` for each k, and ``mrr``; each ``[n]`` float64.

    Example:
        >>> metrics_per_user(np.array([3.0]), ks=(5,))["ndcg@5"].tolist()
        [0.5]
    """
    gain = 1.0 / np.log2(1.0 + ranks)
    metrics: dict[str, NDArray[np.float64]] = {}
    for k in ks:
        within = (ranks <= k).astype(np.float64)
        metrics |= {f"recall@{k}": within, f"ndcg@{k}": gain * within, f"hit@{k}": within}
    return metrics | {"mrr": 1.0 / ranks}


def top_items(
    scores: NDArray[np.floating], k: int, seen: Histories | None = None
) -> NDArray[np.int64]:
    """``[b, min(k, n)]`` rows of the highest scores, best first; seen items come last."""
    filtered = scores
    if seen is not None:
        filtered = scores.copy()
        filtered[np.repeat(np.arange(len(seen)), seen.lengths), seen.items] = -np.inf
    k = min(k, scores.shape[1])
    top = np.argpartition(filtered, -k, axis=1)[:, -k:]
    order = np.argsort(-np.take_along_axis(filtered, top, axis=1), axis=1, kind="stable")
    return np.take_along_axis(top, order, axis=1)
