"""How much the reranker is believed: one weight, chosen on validation."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from p5mm.metrics import expected_ranks, metrics_per_user
from p5mm.scorer import Among, Scorer
from p5mm.split import Cases

WEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5)
BATCH = 256


def validation_metrics(ranker: Among, cases: Cases) -> dict[str, float]:
    """Mean ``recall@10`` and ``ndcg@10`` over the cases."""
    order = np.argsort(cases.histories.lengths, kind="stable")
    ranks = [
        _ranks(ranker, cases, order[start : start + BATCH]) for start in range(0, len(order), BATCH)
    ]
    found = metrics_per_user(np.concatenate(ranks), (10,))
    return {name: float(found[name].mean()) for name in ("recall@10", "ndcg@10")}


def fit_blend(ranker: Among, cases: Cases) -> tuple[float, dict[float, float]]:
    """The weight with the best validation NDCG@10; 0 (the retriever alone) is among them.

    Returns:
        The weight, and the NDCG@10 of each weight tried.
    """
    tried: dict[float, float] = {}
    for weight in WEIGHTS:
        scorer: Scorer = replace(ranker.scorer, blend=weight)
        tried[weight] = validation_metrics(replace(ranker, scorer=scorer), cases)["ndcg@10"]
    return max(tried, key=lambda weight: (tried[weight], -weight)), tried


def _ranks(ranker: Among, cases: Cases, which: NDArray[np.int64]) -> NDArray[np.float64]:
    histories = cases.histories.select(which)
    return expected_ranks(ranker.scores(histories), cases.targets[which], histories)
