"""What validation decides after training: what the reranker weighs, and how new items compete."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from p5mm.data.split import Cases
from p5mm.metrics.ranks import metrics_per_user
from p5mm.metrics.validation import BATCH, spaced, validation_metrics
from p5mm.ranking.scorer import DECODER, Scorer
from p5mm.ranking.similarity import CONTENT, NEIGHBOURS

GRIDS = {
    DECODER: (0.25, 0.5, 0.75, 1.0, 1.5),
    NEIGHBOURS: (1.0, 2.0, 4.0, 8.0, 16.0, 32.0),
    CONTENT: (0.5, 1.0, 2.0, 4.0, 8.0, 16.0),
}
SWEEPS = 3
LEAST_GAIN = 0.003  # share of the validation NDCG@10 that a part must add to be weighed at all
SURE = 1.0  # and standard errors of what it adds: of few cases, much is chance
HANDICAPS = (-2.0, -1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0)
ALLOWED_LOSS = 0.01  # share of the validation NDCG@10 that new items may cost the others


@dataclass(frozen=True)
class Parts:
    """What the score of each candidate of validation cases is made of.

    Attributes:
        retrieval: ``[n, c]`` the retriever's logits.
        parts: Name to ``[n, c]``.
        targets: ``[n]`` the target's place among the candidates, -1 where it is none of them.
    """

    retrieval: Tensor
    parts: Mapping[str, Tensor]
    targets: Tensor

    @classmethod
    def of(cls, scorer: Scorer, names: Sequence[str], cases: Cases) -> "Parts":
        """Retrieve candidates for cases in catalog rows and take their scores apart."""
        batches = [_parts(scorer, names, cases.take(rows)) for rows in spaced(cases, BATCH)]
        retrieval = torch.cat([batch[0] for batch in batches])
        targets = torch.cat([batch[1] for batch in batches])
        parts = {name: torch.cat([batch[2][name] for batch in batches]) for name in names}
        return cls(retrieval, parts, targets)

    def ndcg(self, weights: Mapping[str, float]) -> NDArray[np.float64]:
        """NDCG@10 ``[n]`` of each case when the candidates are ranked by these weights."""
        scores = self.retrieval + sum(w * self.parts[name] for name, w in weights.items())
        own = scores.gather(1, self.targets.clamp(min=0)[:, None])
        ranks = 1.0 + (scores > own).sum(1) + ((scores == own).sum(1) - 1) / 2
        ranks = ranks.masked_fill(self.targets < 0, torch.inf)
        ndcg: NDArray[np.float64] = metrics_per_user(ranks.double().numpy(), (10,))["ndcg@10"]
        return ndcg


def fit_weights(
    scorer: Scorer, names: Sequence[str], cases: Cases
) -> tuple[dict[str, float], dict[str, float]]:
    """Weights of the reranker's parts by validation NDCG@10, one part after the other.

    The part that gains most comes first; a part that adds next to nothing, or what may well be
    chance, gets no weight.

    Args:
        scorer: The retriever, with evidence at hand.
        names: Parts that may be weighed.
        cases: Validation cases in catalog rows.

    Returns:
        The weights, and the NDCG@10 of the retriever, of each part alone with it, and of all.
    """
    parts = Parts.of(scorer, names, cases)
    weights = dict.fromkeys(names, 0.0)
    alone = best = parts.ndcg({})
    tried = {"retriever": float(alone.mean())}
    for name in names:
        tried[f"retriever + {name}"] = max(float(parts.ndcg({name: w}).mean()) for w in _grid(name))
    for _ in range(SWEEPS * len(names)):
        value, name, weight = max(
            (
                (parts.ndcg(weights | {name: w}), name, w)
                for name in names
                for w in (0.0, *_grid(name))
            ),
            key=lambda trial: trial[0].mean(),
        )
        if not _gains(value - best, float(alone.mean())):
            break
        best, weights[name] = value, weight
    return weights, tried | {"all": float(best.mean())}


def _gains(difference: NDArray[np.float64], alone: float) -> bool:
    """Whether a mean difference ``[n]`` over cases is a gain that is worth having and no chance."""
    gain, error = difference.mean(), difference.std() / len(difference) ** 0.5
    return bool(gain > 0 and gain >= max(LEAST_GAIN * alone, SURE * error))


def fit_handicap(scorer: Scorer, rows: NDArray[np.int64], cases: Cases) -> float:
    """The least handicap at which items never taken cost the others next to nothing.

    Items known by content alone are no negatives in training, so nothing keeps their scores down.
    They are lifted, or lowered, as far as ranking the whole catalog is as good on validation as
    ranking only the items that were taken, but for ``ALLOWED_LOSS``.

    Args:
        scorer: Without handicap.
        rows: Catalog rows of the items that were taken: those that the cases count in.
        cases: Validation cases.
    """
    items = scorer.network.items
    new = np.flatnonzero((items.known & ~items.trained).numpy())
    new = np.setdiff1d(new, rows)
    if not len(new):
        return 0.0
    goal = (1 - ALLOWED_LOSS) * validation_metrics(scorer.among(rows), cases)["ndcg@10"]
    if not goal:
        return 0.0
    everything = np.concatenate([rows, new])
    for handicap in HANDICAPS:
        if (
            validation_metrics(scorer.handicapped(handicap).among(everything), cases)["ndcg@10"]
            >= goal
        ):
            return handicap
    return HANDICAPS[-1]


def _grid(name: str) -> tuple[float, ...]:
    return GRIDS[CONTENT if name.startswith(CONTENT) else name]


def _parts(
    scorer: Scorer, names: Sequence[str], cases: Cases
) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    encoded = scorer.encode(cases.histories)
    rows = torch.from_numpy(scorer.retrieve(encoded, cases.histories))
    candidates = rows.clamp(min=0)
    retrieval = scorer.retrieval(encoded, candidates).masked_fill(rows < 0, -torch.inf)
    targets = torch.from_numpy(cases.targets)[:, None] == rows
    place = torch.where(targets.any(1), targets.int().argmax(1), -1)
    parts = {n: scorer.part(n, encoded, cases.histories, candidates) for n in names}
    return retrieval, place, parts
