"""Metrics on validation cases: what every model here chooses its settings by."""

import numpy as np

from p5mm.baselines.base import Ranker
from p5mm.metrics import expected_ranks, metrics_per_user
from p5mm.split import Cases

CASES = 5_000
BATCH = 256


def validation_metrics(ranker: Ranker, cases: Cases) -> dict[str, float]:
    """Mean ``recall@10`` and ``ndcg@10``, full ranking, seen items filtered.

    Of more than ``CASES`` cases as many, evenly spaced, are taken: every call sees the same ones.
    """
    rows = np.unique(np.linspace(0, len(cases) - 1, min(len(cases), CASES)).astype(np.int64))
    rows = rows[np.argsort(cases.histories.lengths[rows], kind="stable")]  # less padding
    ranks = []
    for start in range(0, len(rows), BATCH):
        part = rows[start : start + BATCH]
        histories = cases.histories.select(part)
        ranks.append(expected_ranks(ranker.scores(histories), cases.targets[part], histories))
    found = metrics_per_user(np.concatenate(ranks), (10,))
    return {name: float(found[name].mean()) for name in ("recall@10", "ndcg@10")}


def validation_ndcg(ranker: Ranker, cases: Cases) -> float:
    """Mean NDCG@10; see ``validation_metrics``. 0 where there are no cases."""
    return validation_metrics(ranker, cases)["ndcg@10"] if len(cases) else 0.0
