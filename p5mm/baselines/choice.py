"""NDCG@10 on validation cases: what baselines choose their settings by."""

import numpy as np

from p5mm.baselines.base import Ranker
from p5mm.metrics import expected_ranks
from p5mm.split import Cases

CASES = 5_000


def validation_ndcg(ranker: Ranker, cases: Cases, batch: int = 256) -> float:
    """Mean NDCG@10, full ranking, seen items filtered, on at most ``CASES`` cases.

    The cases are evenly spaced when there are more, so that every call sees the same ones.
    """
    rows = np.unique(np.linspace(0, len(cases) - 1, min(len(cases), CASES)).astype(np.int64))
    rows = rows[np.argsort(cases.histories.lengths[rows], kind="stable")]  # less padding
    total = 0.0
    for start in range(0, len(rows), batch):
        part = rows[start : start + batch]
        histories = cases.histories.select(part)
        ranks = expected_ranks(ranker.scores(histories), cases.targets[part], histories)
        total += float(np.sum((ranks <= 10) / np.log2(1 + ranks)))
    return total / max(len(rows), 1)
