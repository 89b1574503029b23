"""Metrics on validation cases: what every model here chooses its settings by."""

import numpy as np
from numpy.typing import NDArray

from p5mm.data.split import Cases
from p5mm.metrics.ranker import Ranker
from p5mm.metrics.ranks import expected_ranks, metrics_per_user

CASES = 5_000
BATCH = 256


def spaced(cases: Cases, batch: int, most: int = CASES) -> list[NDArray[np.int64]]:
    """Batches of case numbers; of more than ``most`` cases as many, evenly spaced.

    Every call takes the same ones. Cases of like length are together: less padding.
    """
    rows = np.unique(np.linspace(0, len(cases) - 1, min(len(cases), most)).astype(np.int64))
    rows = rows[np.argsort(cases.histories.lengths[rows], kind="stable")]
    return [rows[start : start + batch] for start in range(0, len(rows), batch)]


def validation_metrics(ranker: Ranker, cases: Cases) -> dict[str, float]:
    """Mean ``recall@10`` and ``ndcg@10`` of ``spaced`` cases, full ranking, seen items filtered."""
    ranks = []
    for rows in spaced(cases, BATCH):
        part = cases.take(rows)
        scores = ranker.scores(part.histories)
        ranks.append(expected_ranks(scores, part.targets, part.histories))
    metrics = metrics_per_user(np.concatenate(ranks), (10,))
    return {name: float(metrics[name].mean()) for name in ("recall@10", "ndcg@10")}


def validation_ndcg(ranker: Ranker, cases: Cases) -> float:
    """Mean NDCG@10; see ``validation_metrics``. 0 where there are no cases."""
    return validation_metrics(ranker, cases)["ndcg@10"] if len(cases) else 0.0
