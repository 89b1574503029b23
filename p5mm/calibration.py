"""What validation decides after training: the reranker's weight, and how new items compete."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from p5mm.model import Network
from p5mm.scorer import Among, Scorer
from p5mm.split import Cases
from p5mm.validation import validation_metrics

WEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5)
HANDICAPS = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0)
ALLOWED_LOSS = 0.01  # share of the validation NDCG@10 that new items may cost the others


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


def fit_handicap(network: Network, scorer: Scorer, rows: NDArray[np.int64], cases: Cases) -> float:
    """The least handicap at which items never taken cost the others next to nothing.

    Items known by content alone are no negatives in training, so nothing keeps their scores down.
    Their scores are lowered until ranking the whole catalog is as good on validation as ranking
    only the items that were taken, but for ``ALLOWED_LOSS``.

    Args:
        network: Trained.
        scorer: Of the network, without handicap and reranker.
        rows: Catalog rows of the items that were taken: those that the cases count in.
        cases: Validation cases.
    """
    new = np.flatnonzero((network.items.known & ~network.items.trained).numpy())
    new = np.setdiff1d(new, rows)
    if not len(new):
        return 0.0
    goal = (1 - ALLOWED_LOSS) * validation_metrics(scorer.among(rows), cases)["ndcg@10"]
    everything = np.concatenate([rows, new])
    for handicap in HANDICAPS:
        lowered = replace(scorer, bias=scorer.bias - handicap * ~network.items.trained)
        if validation_metrics(lowered.among(everything), cases)["ndcg@10"] >= goal:
            return handicap
    return HANDICAPS[-1]
