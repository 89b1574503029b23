"""Whether likeness of content, as on a first day, stays in the score after a training."""

import logging
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from p5mm.metrics.ranker import Ranker
from p5mm.metrics.ranks import expected_ranks, metrics_per_user
from p5mm.metrics.validation import BATCH, spaced
from p5mm.ranking.trained_model import TrainedModel
from p5mm.training.calibration import SURE

CASES = 2_000  # of validation

log = logging.getLogger(__name__)


def beside_likeness(model: TrainedModel) -> TrainedModel:
    """The model, with likeness of content and of words in its score where that surely ranks better.

    What few people took teaches less than what the items are: without this, a shop with a small
    log would rank worse than on its first day.

    Args:
        model: Trained.
    """
    if model.config.retrieval.generate or not any(
        present.any() for present in model.content.present.values()
    ):
        return model
    other = replace(model, fitted=replace(model.fitted, likeness=True))
    own, alike = _ndcg(model), _ndcg(other)
    gain = alike - own
    surely = SURE * float(gain.std()) / max(1, len(gain)) ** 0.5
    if not len(gain) or float(gain.mean()) <= surely:
        return model
    log.info(
        "likeness of content stays in the score: validation ndcg@10 %.4f, without it %.4f",
        alike.mean(), own.mean(),
    )  # fmt: skip
    return other


def _ndcg(model: TrainedModel) -> NDArray[np.float64]:
    """NDCG@10 ``[n]`` of validation cases, seen items left out."""
    ranker: Ranker = model.scorer.among(model.rows)
    cases, ranks = model.split.cases("valid"), [np.empty(0)]
    for rows in spaced(cases, BATCH, CASES):
        part = cases.take(rows)
        scores = ranker.scores(part.histories)
        ranks.append(expected_ranks(scores, part.targets, part.histories))
    ndcg: NDArray[np.float64] = metrics_per_user(np.concatenate(ranks), (10,))["ndcg@10"]
    return ndcg
