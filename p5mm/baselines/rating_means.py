"""Ratings from means alone: of all, of an item, and with the user's recent leaning."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from p5mm.config import RatingConfig
from p5mm.data.histories import Histories
from p5mm.data.split import Split
from p5mm.metrics.rating_errors import RatingCases, known_ratings, rmse
from p5mm.model.batches import history_batch, scaled
from p5mm.model.rating_prior import RatingPrior

SHRINKS = (0.0, 1.0, 2.0, 5.0, 10.0, 20.0)


@dataclass
class GlobalMean:
    """The mean of all training ratings."""

    def fit(self, split: Split, n_items: int) -> None:
        """Average the training part."""
        self.mean = float(known_ratings(split.train)[2].mean())

    def predict(self, histories: Histories, targets: NDArray[np.int64]) -> NDArray[np.float64]:
        """See ``RatingModel``."""
        return np.full(len(targets), self.mean)


@dataclass
class ItemMean:
    """An item's mean, drawn to the global mean by ``shrink`` ratings; chosen on validation."""

    shrinks: tuple[float, ...] = SHRINKS

    def fit(self, split: Split, n_items: int) -> None:
        """Item means of the training part."""
        _, items, ratings = known_ratings(split.train)
        mean, cases = ratings.mean(), RatingCases.of(split, "valid")
        total = np.bincount(items, ratings - mean, minlength=n_items)
        count = np.bincount(items, minlength=n_items)
        tried = [mean + total / np.maximum(count + shrink, 1e-9) for shrink in self.shrinks]
        self.means = min(tried, key=lambda means: rmse(means[cases.targets], cases.ratings))

    def predict(self, histories: Histories, targets: NDArray[np.int64]) -> NDArray[np.float64]:
        """See ``RatingModel``."""
        ratings: NDArray[np.float64] = self.means[targets]
        return ratings


@dataclass
class RecentBiases:
    """An item's mean and the user's recent leaning: where the T5's answers start from."""

    max_history: int = 200

    def fit(self, split: Split, n_items: int) -> None:
        """Biases of the training part."""
        ratings = known_ratings(split.train)[2]
        self.scale = float(ratings.mean()), float(ratings.std()) or 1.0
        self.prior = RatingPrior.of(split.train, n_items, self.scale, (), RatingConfig())

    def predict(self, histories: Histories, targets: NDArray[np.int64]) -> NDArray[np.float64]:
        """See ``RatingModel``."""
        batch = scaled(history_batch(histories, self.max_history), self.scale)
        leaning = self.prior.leaning(batch).gather(1, batch.lengths[:, None])[:, 0]
        expected = self.prior.item(torch.from_numpy(targets)) + leaning
        return self.scale[0] + self.scale[1] * expected.double().numpy()
