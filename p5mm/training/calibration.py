"""What validation decides after training: what is weighed, and how new items compete."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations, product

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from p5mm.data.histories import Histories
from p5mm.data.split import Cases
from p5mm.evidence.similarity import CONTENT, NEIGHBOURS
from p5mm.metrics.ranker import Ranker
from p5mm.metrics.ranks import expected_ranks, metrics_per_user
from p5mm.metrics.validation import BATCH, spaced
from p5mm.ranking.places import PAGE, lifted
from p5mm.ranking.scorer import DECODER, Scorer
from p5mm.ranking.trained_model import TrainedModel

GRIDS = {
    DECODER: (0.0, 0.25, 0.5, 0.75, 1.0, 1.25),
    NEIGHBOURS: (0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0),
    CONTENT: (0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0),
}
CASES = 20_000  # that weights are fitted on
FOLDS = 5
LIKENESS_CASES = 2_000  # that say whether likeness stays in the score
SURE = 1.0  # standard errors that must be gained, on users not fitted on, over what ranks otherwise
HANDICAPS = tuple(eighth / 8 for eighth in range(-32, 81))
LIFTS = tuple(eighth / 8 for eighth in range(65))
FAR = 50  # places that new items are lifted among
# Shares of the others' validation NDCG@k that new items may cost: next to nothing on the first
# page; beyond it they are shown more, or nobody would ever find them.
ALLOWED_LOSS = {PAGE: 0.01, FAR: 0.05}


log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Parts:
    """What the score of each candidate of validation cases is made of.

    Attributes:
        retrieval: ``[n, c]`` the retriever's logits.
        parts: Name to ``[n, c]``.
        new: ``[n, c]`` bool, True where nobody has taken the candidate.
        targets: ``[n]`` the target's place among the candidates, -1 where it is none of them.
    """

    retrieval: Tensor
    parts: Mapping[str, Tensor]
    new: Tensor
    targets: Tensor

    @classmethod
    def of(
        cls, scorer: Scorer, names: Sequence[str], cases: Cases, seen: Histories | None = None
    ) -> "Parts":
        """Retrieve candidates for cases in catalog rows and take their scores apart.

        Args:
            scorer: With everything at hand that the parts need.
            names: Of the parts.
            cases: Of more than ``CASES`` as many, evenly spaced.
            seen: What is no candidate of each case; its history where None.
        """
        seen = cases.histories if seen is None else seen
        batches = [
            _parts(scorer, names, cases.take(rows), seen.select(rows))
            for rows in spaced(cases, BATCH, CASES)
        ]
        return cls(
            torch.cat([batch.retrieval for batch in batches]),
            {name: torch.cat([batch.parts[name] for batch in batches]) for name in names},
            torch.cat([batch.new for batch in batches]),
            torch.cat([batch.targets for batch in batches]),
        )

    def ndcg(
        self,
        weights: Mapping[str, float],
        handicap: float = 0.0,
        lift: float = 0.0,
        k: int = PAGE,
    ) -> NDArray[np.float64]:
        """NDCG@k ``[n]`` of each case when the candidates are ranked by these weights.

        Args:
            weights: Of the parts; those not named weigh nothing.
            handicap: What new candidates are lowered by; infinity leaves them out.
            lift: What they are raised by again beyond the first page.
            k: How far a list is looked at.
        """
        scores = self.retrieval + sum(w * self.parts[name] for name, w in weights.items())
        scores = torch.where(self.new, scores - handicap, scores)
        scores = torch.from_numpy(lifted(scores.numpy(), self.new.numpy(), lift))
        own = scores.gather(1, self.targets.clamp(min=0)[:, None])
        ranks = 1.0 + (scores > own).sum(1) + ((scores == own).sum(1) - 1) / 2
        ranks = ranks.masked_fill(self.targets < 0, torch.inf)
        ndcg: NDArray[np.float64] = metrics_per_user(ranks.double().numpy(), (k,))[f"ndcg@{k}"]
        return ndcg


@dataclass(frozen=True)
class Search:
    """The best weights of some parts together, by NDCG@10 of some of the cases.

    All pairs of parts are tried over their grids, the others staying as they are, until no pair
    gains: two parts that gain nothing alone may gain much together.

    Attributes:
        parts: Of all cases.
        names: Parts that may be weighed.
        tried: NDCG@10 of each case by weights, computed once.
    """

    parts: Parts
    names: tuple[str, ...]
    tried: dict[tuple[float, ...], NDArray[np.float64]] = field(default_factory=dict)

    def ndcg(self, weights: tuple[float, ...]) -> NDArray[np.float64]:
        """NDCG@10 ``[n]`` of each case by the weights of ``names``."""
        if weights not in self.tried:
            self.tried[weights] = self.parts.ndcg(dict(zip(self.names, weights, strict=True)))
        return self.tried[weights]

    def best(self, cases: NDArray[np.int64] | slice, among: Sequence[str]) -> tuple[float, ...]:
        """The best weights on these cases; parts that are not ``among`` these weigh nothing."""
        places = [self.names.index(name) for name in among]
        blocks: list[tuple[int, ...]] = [*combinations(places, min(2, len(places)))]
        best = (0.0,) * len(self.names)
        improved = True
        while improved:
            start = best
            for block in blocks:
                trials = (self._with(best, block, w) for w in product(*map(self._grid, block)))
                best = max([best, *trials], key=lambda w: float(self.ndcg(w)[cases].mean()))
            improved = best != start
        return best

    def cross_fitted(self, folds: NDArray[np.int64], among: Sequence[str]) -> NDArray[np.float64]:
        """NDCG@10 ``[n]`` of each case by the weights that are best on the other folds."""
        found = np.zeros(len(folds))
        for fold in np.unique(folds):
            others = np.flatnonzero(folds != fold)
            weights = self.best(others, among) if len(others) else (0.0,) * len(self.names)
            found[folds == fold] = self.ndcg(weights)[folds == fold]
        return found

    def _grid(self, place: int) -> tuple[float, ...]:
        name = self.names[place]
        return GRIDS[CONTENT if name.startswith(CONTENT) else name]

    def _with(
        self, weights: tuple[float, ...], places: Sequence[int], values: Sequence[float]
    ) -> tuple[float, ...]:
        changed = list(weights)
        for place, value in zip(places, values, strict=True):
            changed[place] = value
        return tuple(changed)


def fit_weights(
    scorer: Scorer, decoder: Sequence[str], cases: Cases
) -> tuple[dict[str, float], dict[str, float], dict[str, float]]:
    """Weights of the reranker's parts, fitted together and judged on other users.

    A decoder that was trained to rank is the reranker, unless nothing, the similarities or all of
    them surely gain over it; without one it is nothing, unless the similarities do. What counts is
    the NDCG@10 of users that the weights were not fitted on. To ask the decoder for a sure gain
    would be to forget that it gained elsewhere: a thousand users can hardly show 3 %.

    Args:
        scorer: The retriever, with evidence at hand.
        decoder: ``DECODER`` where it was trained to rank, or nothing.
        cases: Validation cases in catalog rows.

    Returns:
        The weights; those of the similarities without a decoder; and the cross-fitted NDCG@10 of
        what was tried: the retriever, and what of the others there is.
    """
    linear = () if scorer.similarity is None else scorer.similarity.names
    names = (*decoder, *linear)
    search = Search(Parts.of(scorer, names, cases), names)
    folds = np.random.default_rng(0).permutation(len(search.parts.targets)) % FOLDS
    nothing = (0.0,) * len(names)
    values = {"retriever": search.ndcg(nothing)}
    found = {"retriever": nothing, "similarities": nothing}
    both = names if linear and decoder else ()
    for told, among in {"similarities": linear, "decoder": decoder, "all": both}.items():
        if among:
            values[told] = search.cross_fitted(folds, among)
            found[told] = search.best(slice(None), among)
    kept = "decoder" if decoder else "retriever"
    for told, value in values.items():
        kept = told if _gains(value - values[kept]) else kept
    weights = {told: dict(zip(names, of, strict=True)) for told, of in found.items()}
    tried = {told: float(value.mean()) for told, value in values.items()}
    return weights[kept], weights["similarities"], tried


def _gains(difference: NDArray[np.float64]) -> bool:
    """Whether a mean difference ``[n]`` over cases is a gain, and no chance."""
    gain, error = difference.mean(), difference.std() / len(difference) ** 0.5
    return bool(gain > 0 and gain >= SURE * error)


def fit_newcomers(
    scorer: Scorer, cases: Cases, seen: Histories | None = None
) -> tuple[float, float]:
    """How new items compete so that they cost the others little: handicap and lift.

    On the first page by the least handicap, beyond it by the greatest lift, with which ranking all
    candidates is as good on validation as ranking only those that somebody took, but for
    ``ALLOWED_LOSS``: of NDCG@10 for the page, of NDCG@50 for what comes after it.

    Args:
        scorer: With its weights, without handicap; nobody has taken some of its items.
        cases: Validation cases in catalog rows, whose targets somebody took.
        seen: What is no candidate of each case; its history where None.
    """
    if not len(cases):
        return 0.0, 0.0
    parts, weights = Parts.of(scorer, list(scorer.weights), cases, seen), scorer.weights
    goals = {
        k: (1 - loss) * parts.ndcg(weights, torch.inf, k=k).mean()
        for k, loss in ALLOWED_LOSS.items()
    }
    if not parts.new.any() or not goals[PAGE]:
        return 0.0, 0.0

    def spares(handicap: float, lift: float, k: int) -> bool:
        return bool(parts.ndcg(weights, handicap, lift, k).mean() >= goals[k])

    handicap = next((h for h in HANDICAPS if spares(h, 0.0, PAGE)), HANDICAPS[-1])
    lifts = (lift for lift in reversed(LIFTS) if spares(handicap, lift, FAR))
    return handicap, next(lifts, 0.0)


def _parts(scorer: Scorer, names: Sequence[str], cases: Cases, seen: Histories) -> Parts:
    encoded = scorer.encode(cases.histories)
    rows = torch.from_numpy(scorer.retrieve(encoded, seen))
    candidates = rows.clamp(min=0)
    retrieval = scorer.retrieval(encoded, candidates).masked_fill(rows < 0, -torch.inf)
    targets = torch.from_numpy(cases.targets)[:, None] == rows
    place = torch.where(targets.any(1), targets.int().argmax(1), -1)
    parts = {n: scorer.part_of_found(n, encoded, cases.histories, rows) for n in names}
    new = (rows >= 0) & ~scorer.network.items.trained[candidates]
    return Parts(retrieval, parts, new, place)


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
    other = replace(model, fitted=replace(model.fitted, likeness=True), saved_index=None)
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
    for rows in spaced(cases, BATCH, LIKENESS_CASES):
        part = cases.take(rows)
        scores = ranker.scores(part.histories)
        ranks.append(expected_ranks(scores, part.targets, part.histories))
    ndcg: NDArray[np.float64] = metrics_per_user(np.concatenate(ranks), (10,))["ndcg@10"]
    return ndcg
