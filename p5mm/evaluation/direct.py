"""The direct task: which of the stored candidates did the user take?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from p5mm.data.histories import Histories
from p5mm.data.split import Part
from p5mm.evaluation.report import Report
from p5mm.evaluation.stored_candidates import StoredCandidates
from p5mm.metrics.intervals import DRAWS
from p5mm.metrics.ranker import Ranker
from p5mm.metrics.ranks import expected_ranks, metrics_per_user
from p5mm.model.questions import Question
from p5mm.ranking.scorer import DECODER, Scorer
from p5mm.ranking.trained_model import TrainedModel

KS = (1, 5, 10)
WEIGHTS = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
BATCH = 256


class Chooser(Protocol):
    """Anything that scores a few candidates for a batch of histories."""

    def choose(self, histories: Histories, candidates: NDArray[np.int64]) -> NDArray[np.floating]:
        """``[b, c]`` scores of candidate rows ``[b, c]``, higher is better."""


@dataclass(frozen=True)
class Picked:
    """A ranker of the whole catalog that is asked for the candidates alone."""

    ranker: Ranker

    def choose(self, histories: Histories, candidates: NDArray[np.int64]) -> NDArray[np.floating]:
        """See ``Chooser``."""
        return np.take_along_axis(self.ranker.scores(histories), candidates, axis=1)


@dataclass(frozen=True)
class Asked:
    """A model asked with prompts of the direct family.

    Attributes:
        scorer: Of the model's whole catalog.
        rows: ``[items]`` catalog rows of the items that the candidates count in.
        prompts: Token ids; the mean of their logits counts.
        weight: Of the decoder's logit beside the retrieval logit; None is the decoder alone.
    """

    scorer: Scorer
    rows: NDArray[np.int64]
    prompts: Sequence[Sequence[int]]
    weight: float | None

    @classmethod
    def of(cls, model: TrainedModel, asked: Sequence[Question], weight: float | None) -> "Asked":
        """A model, and the questions to ask it."""
        scorer = model.without_likeness.scorer  # the decoder reads what it was trained on
        return cls(scorer, model.rows, [question.tokens for question in asked], weight)

    def choose(self, histories: Histories, candidates: NDArray[np.int64]) -> NDArray[np.floating]:
        """See ``Chooser``."""
        decoder, retrieval = self.parts(histories, candidates)
        return decoder if self.weight is None else retrieval + self.weight * decoder

    def parts(
        self, histories: Histories, candidates: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The decoder's logits and the retriever's, each ``[b, c]``."""
        whole = replace(histories, items=self.rows[histories.items])
        among = torch.from_numpy(self.rows[candidates])
        encoded = self.scorer.encode(whole)
        logits = [
            self.scorer.asked_by(prompt).part(DECODER, encoded, whole, among)
            for prompt in self.prompts
        ]
        retrieval = self.scorer.retrieval(encoded, among)
        return torch.stack(logits).mean(0).numpy(), retrieval.numpy()


@dataclass(frozen=True)
class Served:
    """A model that scores the candidates as it does for recommendations."""

    scorer: Scorer
    rows: NDArray[np.int64]

    def choose(self, histories: Histories, candidates: NDArray[np.int64]) -> NDArray[np.floating]:
        """See ``Chooser``."""
        whole = replace(histories, items=self.rows[histories.items])
        among = torch.from_numpy(self.rows[candidates])
        return self.scorer.rerank(self.scorer.encode(whole), whole, among).numpy()


def chosen_ranks(chooser: Chooser, stored: StoredCandidates) -> NDArray[np.float64]:
    """``[n]`` ranks of the targets among their candidates; ties at their expected rank."""
    order = np.argsort(stored.cases.histories.lengths, kind="stable")
    ranks, places = np.empty(len(stored)), stored.places
    for start in range(0, len(stored), BATCH):
        rows = order[start : start + BATCH]
        scores = chooser.choose(stored.cases.histories.select(rows), stored.candidates[rows])
        ranks[rows] = expected_ranks(scores, places[rows])
    return ranks


def direct_report(
    choosers: Mapping[str, Chooser], stored: StoredCandidates, part: Part, seed: int = 0
) -> Report:
    """HR@1, 5, 10 (``hit@k``) and NDCG of every chooser on the same candidates."""
    per_user = {
        name: metrics_per_user(chosen_ranks(chooser, stored), KS)
        for name, chooser in choosers.items()
    }
    protocol = {
        "split": part,
        "held out": "leave-one-out by time",
        "ranking": f"{stored.candidates.shape[1]} stored candidates",
        "users": len(stored),
        "ties": "expected rank",
        "ks": list(KS),
        "intervals": f"95 % percentile bootstrap over users, {DRAWS} draws",
        "seed": seed,
    }
    return Report(protocol, per_user, {}, {}, {})


def fit_weight(model: TrainedModel, asked: Sequence[Question], stored: StoredCandidates) -> float:
    """The decoder's weight by NDCG@10 on validation, for the mean of the seen questions."""
    seen = [question for question in asked if not question.held_out]
    decoder_alone = Asked.of(model, seen, None)
    histories = stored.cases.histories
    batches = [np.arange(s, min(s + BATCH, len(stored))) for s in range(0, len(stored), BATCH)]
    parts = [
        decoder_alone.parts(histories.select(rows), stored.candidates[rows]) for rows in batches
    ]
    decoder, retrieval = (np.concatenate(part) for part in zip(*parts, strict=True))

    def ndcg(weight: float) -> float:
        ranks = expected_ranks(retrieval + weight * decoder, stored.places)
        return float(metrics_per_user(ranks, (10,))["ndcg@10"].mean())

    return max(WEIGHTS, key=ndcg)
