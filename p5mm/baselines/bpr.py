"""BPR matrix factorisation by the implicit library; users are folded in by their history."""

from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from p5mm.baselines.base import Arrays, baselines
from p5mm.data.histories import Histories
from p5mm.data.split import Split
from p5mm.errors import InputError
from p5mm.metrics.validation import validation_ndcg


@baselines.register("bpr")
@dataclass
class BPR:
    """Rendle et al. 2009, trained by implicit; factors and epochs by validation NDCG@10.

    implicit does not recalculate users for BPR, and a request's history is never quite the one
    trained on. So a user vector is made from the history, the same way for everybody: the mean of
    its item factors through the ridge regression that best gives back the trained user vectors.

    Attributes:
        factors: Values tried.
        iterations: Values tried.
        learning_rate: Of the library's SGD.
        regularization: Of the library's SGD.
        ridge: Of the map from mean item factors to user vectors, per user.
        seed: Of initial factors and sampling.
    """

    factors: tuple[int, ...] = (128,)
    iterations: tuple[int, ...] = (100, 300)
    learning_rate: float = 0.05
    regularization: float = 0.01
    ridge: float = 1e-3
    seed: int = 0

    def fit(self, split: Split, n_items: int) -> None:
        """Train every combination and keep the best.

        Raises:
            InputError: The library is not installed.
        """
        cases, best = split.cases("valid"), -1.0
        for factors, iterations in product(self.factors, self.iterations):
            learned = self._train(split.train, n_items, factors, iterations)
            trial = BPR()
            trial.restore(learned)
            ndcg = validation_ndcg(trial, cases)
            if ndcg > best:
                best = ndcg
                self.restore(learned)

    def scores(self, histories: Histories) -> NDArray[np.float32]:
        """``[b, n_items]`` float32; an empty history gets the item biases."""
        users = _mean_factors(histories, self.items) @ self.fold
        return np.asarray(users @ self.items.T + self.bias, dtype=np.float32)

    def _train(self, train: Histories, n_items: int, factors: int, iterations: int) -> Arrays:
        model = _library()(
            factors=factors,
            iterations=iterations,
            learning_rate=self.learning_rate,
            regularization=self.regularization,
            random_state=self.seed,
            num_threads=1,  # more threads race, and a seed would no longer fix the result
        )
        model.fit(_matrix(train, n_items), show_progress=False)
        # The library keeps the item bias as the last factor, against a constant 1 of the user.
        items, bias = model.item_factors[:, :-1], model.item_factors[:, -1]
        known = train.lengths > 0
        means, users = _mean_factors(train, items)[known], model.user_factors[known, :-1]
        gram = means.T @ means + self.ridge * np.eye(factors, dtype=np.float32) * len(means)
        return {"items": items, "bias": bias, "fold": np.linalg.solve(gram, means.T @ users)}

    def n_items(self) -> int:
        """Size of the catalog that it was fitted on."""
        return len(self.items)

    def arrays(self) -> Arrays:
        """Item factors and biases, and the map from mean factors to a user vector."""
        return {"items": self.items, "bias": self.bias, "fold": self.fold}

    def restore(self, arrays: Arrays) -> None:
        """Take the factors back.

        Raises:
            ValueError: Their shapes do not agree.
        """
        items, bias, fold = arrays["items"], arrays["bias"], arrays["fold"]
        if items.ndim != 2 or bias.shape != items.shape[:1] or fold.shape != (items.shape[1],) * 2:
            raise ValueError("items, bias and fold of BPR do not agree")
        self.items, self.bias, self.fold = items, bias, fold


def _library() -> Any:
    try:
        from implicit.cpu.bpr import BayesianPersonalizedRanking
    except ImportError as error:
        raise InputError(
            "the baseline 'bpr' needs the library implicit: pip install 'p5mm[baselines]'"
        ) from error
    return BayesianPersonalizedRanking


def _matrix(histories: Histories, n_items: int) -> Any:
    entries = (np.ones(len(histories.items), np.float32), histories.items, histories.offsets)
    return sp.csr_matrix(entries, shape=(len(histories), n_items))


def _mean_factors(histories: Histories, items: NDArray[np.float32]) -> NDArray[np.float32]:
    """``[b, factors]`` mean of the history's item factors; zero for an empty history."""
    total = _matrix(histories, len(items)) @ items
    return np.asarray(total / np.maximum(histories.lengths, 1)[:, None], dtype=np.float32)
