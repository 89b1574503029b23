"""The rating task: how will this user rate the held-out item?"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from p5mm.asking import Question
from p5mm.batches import history_batch, scaled
from p5mm.errors import InputError
from p5mm.histories import Histories
from p5mm.rating_prior import RatingPrior
from p5mm.recommender import Recommender
from p5mm.split import Cases, LeaveOneOut, Part
from p5mm.tokens import level_tokens

BATCH = 256
SHRINKS = (0.0, 1.0, 2.0, 5.0, 10.0, 20.0)


@dataclass(frozen=True)
class RatingCases:
    """The split's cases whose target was rated.

    Attributes:
        cases: Histories, with their ratings, and targets.
        ratings: ``[n]`` float64 what the targets were rated with.
    """

    cases: Cases
    ratings: NDArray[np.float64]

    @classmethod
    def of(cls, split: LeaveOneOut, part: Part) -> "RatingCases":
        """The cases of one part.

        Raises:
            InputError: No target has a rating.
        """
        cases = split.cases(part)
        last = split.log.offsets[cases.users + 1] - (2 if part == "valid" else 1)
        given = split.log.ratings
        ratings = np.full(len(cases), np.nan) if given is None else given[last].astype(np.float64)
        known = np.flatnonzero(~np.isnan(ratings))
        if not len(known):
            raise InputError(f"no target of the {part} part was rated; the log has no ratings")
        return cls(cases.take(known), ratings[known])

    @property
    def histories(self) -> Histories:
        """What is known before the targets."""
        return self.cases.histories

    @property
    def targets(self) -> NDArray[np.int64]:
        """``[n]`` item rows."""
        return self.cases.targets


class RatingModel(Protocol):
    """Anything that predicts ratings of items from histories."""

    def predict(self, histories: Histories, targets: NDArray[np.int64]) -> NDArray[np.float64]:
        """``[n]`` rating of each target by the user with that history."""


@dataclass
class GlobalMean:
    """The mean of all training ratings."""

    def fit(self, split: LeaveOneOut, n_items: int) -> None:
        """Average the training part."""
        self.mean = float(known_ratings(split.train)[2].mean())

    def predict(self, histories: Histories, targets: NDArray[np.int64]) -> NDArray[np.float64]:
        """See ``RatingModel``."""
        return np.full(len(targets), self.mean)


@dataclass
class ItemMean:
    """An item's mean, drawn to the global mean by ``shrink`` ratings; chosen on validation."""

    shrinks: tuple[float, ...] = SHRINKS

    def fit(self, split: LeaveOneOut, n_items: int) -> None:
        """Item means of the training part."""
        _, items, ratings = known_ratings(split.train)
        mean, cases = ratings.mean(), RatingCases.of(split, "valid")
        total = np.bincount(items, ratings - mean, minlength=n_items)
        count = np.bincount(items, minlength=n_items)
        tried = [mean + total / np.maximum(count + shrink, 1e-9) for shrink in self.shrinks]
        self.means = min(tried, key=lambda means: rmse(means[cases.targets], cases.ratings))

    def predict(self, histories: Histories, targets: NDArray[np.int64]) -> NDArray[np.float64]:
        """See ``RatingModel``."""
        found: NDArray[np.float64] = self.means[targets]
        return found


@dataclass
class RecentBiases:
    """An item's mean and the user's recent leaning: where the T5's answers start from."""

    max_history: int = 200

    def fit(self, split: LeaveOneOut, n_items: int) -> None:
        """Biases of the training part."""
        ratings = known_ratings(split.train)[2]
        self.scale = float(ratings.mean()), float(ratings.std()) or 1.0
        self.prior = RatingPrior.of(split.train, n_items, self.scale, ())

    def predict(self, histories: Histories, targets: NDArray[np.int64]) -> NDArray[np.float64]:
        """See ``RatingModel``."""
        batch = scaled(history_batch(histories, self.max_history), self.scale)
        leaning = self.prior.leaning(batch).gather(1, batch.lengths[:, None])[:, 0]
        expected = self.prior.item(torch.from_numpy(targets)) + leaning
        return self.scale[0] + self.scale[1] * expected.double().numpy()


@dataclass(frozen=True)
class AskedRating:
    """A model asked with prompts of the rating family: the mean of the levels it expects.

    Attributes:
        model: Trained with ratings.
        prompts: Token ids; several predictions are averaged.
    """

    model: Recommender
    prompts: Sequence[Sequence[int]]

    @classmethod
    def of(cls, model: Recommender, asked: Sequence[Question]) -> "AskedRating":
        """A model, and the questions to ask it.

        Raises:
            InputError: The model has learned from no ratings.
        """
        if model.network.rating_prior is None:
            raise InputError(
                "the model has learned from no ratings; its log needs a rating column with two "
                "values or more, and train.tasks the family rating"
            )
        return cls(model, [one.tokens for one in asked])

    def predict(self, histories: Histories, targets: NDArray[np.int64]) -> NDArray[np.float64]:
        """See ``RatingModel``."""
        order = np.argsort(histories.lengths, kind="stable")
        found = np.empty(len(targets))
        for start in range(0, len(targets), BATCH):
            rows = order[start : start + BATCH]
            found[rows] = self._predict(histories.select(rows), targets[rows])
        return found

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


def known_ratings(
    histories: Histories,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """User, item and rating of every rated event, each ``[m]``."""
    users = np.repeat(np.arange(len(histories)), histories.lengths)
    if histories.ratings is None:
        return users[:0], histories.items[:0], np.empty(0)
    known = ~np.isnan(histories.ratings)
    return users[known], histories.items[known], histories.ratings[known].astype(np.float64)


def rmse(given: NDArray[np.float64], ratings: NDArray[np.float64]) -> float:
    """Root mean square error."""
    return float(np.sqrt(np.mean((given - ratings) ** 2)))
