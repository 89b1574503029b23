"""Biased matrix factorisation of ratings by alternating least squares; users are folded in."""

from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from p5mm.baselines.base import Arrays
from p5mm.data.histories import Histories
from p5mm.data.split import Split
from p5mm.metrics.rating_errors import RatingCases, known_ratings, rmse


@dataclass
class BiasedMF:
    """``mu + b_u + b_i + p_u q_i`` (Koren, Bell and Volinsky 2009) by alternating least squares.

    A user's bias and factors are the ridge solution for the history that is given, the same in
    training and in prediction; only what belongs to items is kept. Rank, penalties and rounds are
    chosen by validation RMSE.

    Attributes:
        factors: Ranks tried.
        penalties: Ridge penalties of the factors that are tried.
        bias_penalties: Ridge penalties of the biases that are tried.
        rounds: Alternations; the best round is kept.
        seed: Of the first item factors.
    """

    factors: tuple[int, ...] = (2, 4, 8, 16)
    penalties: tuple[float, ...] = (5.0, 10.0, 20.0)
    bias_penalties: tuple[float, ...] = (0.5, 2.0, 5.0)
    rounds: int = 12
    seed: int = 0

    def fit(self, split: Split, n_items: int) -> None:
        """Train every combination on the training part and keep the best on validation."""
        ratings = _matrix(split.train, n_items)
        self.mean = float(ratings.data.mean()) if ratings.nnz else 0.0
        cases, best = RatingCases.of(split, "valid"), np.inf
        for rank, penalty, bias in product(self.factors, self.penalties, self.bias_penalties):
            trial = BiasedMF()
            trial._start(self.mean, n_items, rank, penalty, bias, self.seed)
            for _ in range(self.rounds):
                trial._round(ratings)
                error = rmse(trial.predict(cases.histories, cases.targets), cases.ratings)
                if error < best:
                    best = error
                    self._take(trial)

    def predict(self, histories: Histories, targets: NDArray[np.int64]) -> NDArray[np.float64]:
        """``[n]`` rating of each target by the user with that history."""
        users = self._users(_matrix(histories, len(self.items)))
        own = self.items[targets]
        tastes: NDArray[np.float64] = (users[:, 1:] * own[:, 1:]).sum(axis=1)
        return self.mean + users[:, 0] + own[:, 0] + tastes

    def n_items(self) -> int:
        """Size of the catalog that it was fitted on."""
        return len(self.items)

    def arrays(self) -> Arrays:
        """Biases and factors of the items, the mean, and the penalties that validation chose."""
        return {"items": self.items, "mean": np.array([self.mean]), "ridge": self.ridge}

    def restore(self, arrays: Arrays) -> None:
        """Take them back.

        Raises:
            ValueError: Their shapes do not agree.
        """
        items, ridge, mean = (
            np.asarray(arrays[name], np.float64) for name in ("items", "ridge", "mean")
        )
        if items.ndim != 2 or ridge.shape != items.shape[1:] or mean.shape != (1,):
            raise ValueError("items, ridge and mean of biased MF do not agree")
        self.items, self.ridge, self.mean = items, ridge, float(mean[0])

    def _start(
        self, mean: float, n_items: int, rank: int, penalty: float, bias: float, seed: int
    ) -> None:
        """Items ``[n, 1 + rank]``: the bias, then the factors."""
        self.mean, self.ridge = mean, np.array([bias] + [penalty] * rank)
        self.items = np.random.default_rng(seed).normal(scale=0.1, size=(n_items, 1 + rank))
        self.items[:, 0] = 0.0

    def _take(self, other: "BiasedMF") -> None:
        self.mean, self.ridge, self.items = other.mean, other.ridge, other.items

    def _round(self, ratings: Any) -> None:
        users = self._users(ratings)
        self.items = _ridge(ratings.T.tocsr(), self.mean, users, self.ridge)

    def _users(self, ratings: Any) -> NDArray[np.float64]:
        """Users ``[b, 1 + rank]`` of their ratings ``[b, n]``: the bias, then the factors."""
        return _ridge(ratings, self.mean, self.items, self.ridge)


def _ridge(
    ratings: Any, mean: float, others: NDArray[np.float64], penalty: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Bias and factors ``[rows, f]`` of each row of ``ratings``, given those of the columns.

    Minimises ``sum (r - mean - b' - b - p q)^2 + penalty (b, p)^2`` over what the row rated.
    """
    features = np.concatenate([np.ones((len(others), 1)), others[:, 1:]], axis=1)
    size = features.shape[1]
    outer = (features[:, :, None] * features[:, None]).reshape(len(features), -1)
    seen = sp.csr_matrix((np.ones(ratings.nnz), ratings.indices, ratings.indptr), ratings.shape)
    left = (ratings.data - mean) - others[ratings.indices, 0]
    rest = sp.csr_matrix((left, ratings.indices, ratings.indptr), ratings.shape)
    gram = (seen @ outer).reshape(-1, size, size) + np.diag(penalty)
    solved: NDArray[np.float64] = np.linalg.solve(gram, (rest @ features)[..., None])[..., 0]
    return solved


def _matrix(histories: Histories, n_items: int) -> Any:
    """``[users, n_items]`` CSR of the known ratings."""
    users, items, ratings = known_ratings(histories)
    return sp.csr_matrix((ratings, (users, items)), shape=(len(histories), n_items))
