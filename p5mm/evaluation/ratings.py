"""The rating task: how will this user rate the held-out item?"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from p5mm.data.histories import Histories
from p5mm.errors import InputError
from p5mm.metrics.rating_errors import RatingCases, RatingModel
from p5mm.model.questions import Question
from p5mm.model.tokenizer import level_tokens
from p5mm.ranking.trained_model import TrainedModel

BATCH = 256


@dataclass(frozen=True)
class AskedRating:
    """A model asked with prompts of the rating family: the mean of the levels it expects.

    Attributes:
        model: Trained with ratings.
        prompts: Token ids; several predictions are averaged.
    """

    model: TrainedModel
    prompts: Sequence[Sequence[int]]

    @classmethod
    def of(cls, model: TrainedModel, asked: Sequence[Question]) -> "AskedRating":
        """A model, and the questions to ask it.

        Raises:
            InputError: The model has learned from no ratings.
        """
        if model.network.rating_prior is None:
            raise InputError(
                "the model has learned from no ratings; its log needs a rating column with two "
                "values or more, and train.tasks the family rating"
            )
        return cls(model, [question.tokens for question in asked])

    def predict(self, histories: Histories, targets: NDArray[np.int64]) -> NDArray[np.float64]:
        """See ``RatingModel``."""
        order = np.argsort(histories.lengths, kind="stable")
        ratings = np.empty(len(targets))
        for start in range(0, len(targets), BATCH):
            rows = order[start : start + BATCH]
            ratings[rows] = self._predict(histories.select(rows), targets[rows])
        return ratings

    @torch.inference_mode()
    def _predict(self, histories: Histories, targets: NDArray[np.int64]) -> NDArray[np.float64]:
        model, scorer = self.model, self.model.scorer
        batch = scorer.batch(replace(histories, items=model.rows[histories.items]))
        encoded = model.network.encode(scorer.tokens, batch)
        positions = encoded.lengths[:, None]
        seen = encoded.seen_until(positions)
        rows = torch.from_numpy(model.rows[targets])[:, None]
        slots = scorer.tokens[rows]
        prior = model.network.rating_prior
        likely = 0.0 if prior is None else prior(batch, positions, rows)[:, 0]
        levels = torch.tensor(model.fitted.levels, dtype=torch.float64)
        answers = level_tokens(model.tokenizer, len(levels))
        expected = [
            (model.network.answer(encoded, seen, prompt, slots, answers)[:, 0] + likely)
            .double()
            .softmax(-1)
            @ levels
            for prompt in self.prompts
        ]
        return torch.stack(expected).mean(0).numpy()


@dataclass(frozen=True)
class Calibrated:
    """A model whose predictions are put straight by ``offset + slope * prediction``."""

    model: RatingModel
    offset: float
    slope: float

    @classmethod
    def of(cls, model: RatingModel, valid: RatingCases) -> "Calibrated":
        """The least-squares line on validation."""
        given = model.predict(valid.histories, valid.targets)
        columns = np.stack([np.ones(len(given)), given], axis=1)
        offset, slope = np.linalg.lstsq(columns, valid.ratings, rcond=None)[0]
        return cls(model, float(offset), float(slope))

    def predict(self, histories: Histories, targets: NDArray[np.int64]) -> NDArray[np.float64]:
        """See ``RatingModel``."""
        return self.offset + self.slope * self.model.predict(histories, targets)
