"""Errors of predicted ratings: RMSE and MAE with intervals, and what models differ by."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from p5mm.data.histories import Histories
from p5mm.data.split import Cases, Part, Split
from p5mm.errors import InputError
from p5mm.metrics.intervals import DRAWS, Interval, intervals


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
    def of(cls, split: Split, part: Part) -> "RatingCases":
        """The cases of one part.

        Raises:
            InputError: No target has a rating.
        """
        cases = split.cases(part)
        answered, ratings = split.answered(part), np.full(len(cases), np.nan)
        if answered.ratings is not None:
            ratings[:] = answered.ratings[answered.offsets[1:] - 1]
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


@dataclass(frozen=True)
class RatingReport:
    """Errors of several models on the same cases.

    Attributes:
        protocol: How it was measured; plain JSON values.
        errors: Model to ``[n]`` float64 prediction minus rating.
    """

    protocol: dict[str, Any]
    errors: dict[str, NDArray[np.float64]]

    @property
    def models(self) -> dict[str, dict[str, Interval]]:
        """Model, then ``rmse`` and ``mae``, each with its interval over users."""
        squares = intervals(self._columns(np.square), self.protocol["seed"])
        sizes = intervals(self._columns(np.abs), self.protocol["seed"])
        # A root keeps order, so the interval of the mean square gives that of its root.
        roots = [Interval(*(float(v) ** 0.5 for v in (s.value, s.low, s.high))) for s in squares]
        pairs = zip(self.errors, roots, sizes, strict=True)
        return {name: {"rmse": root, "mae": size} for name, root, size in pairs}

    def differences(self, main: str) -> dict[str, dict[str, Interval]]:
        """``main - other``, then metric: paired over users; below 0 where ``main`` is better."""
        squares = self._columns(np.square)
        sizes = self._columns(np.abs)
        at, seed = list(self.errors).index(main), self.protocol["seed"]
        roots = _root_differences(squares, at, seed)
        plain = intervals(sizes[:, [at]] - sizes, seed)
        return {
            f"{main} - {name}": {"rmse": root, "mae": size}
            for name, root, size in zip(self.errors, roots, plain, strict=True)
            if name != main
        }

    def _columns(
        self, of: Callable[[NDArray[np.float64]], NDArray[np.float64]]
    ) -> NDArray[np.float64]:
        return np.stack([of(errors) for errors in self.errors.values()], axis=1)


def rating_report(
    models: Mapping[str, RatingModel], cases: RatingCases, part: Part, seed: int = 0
) -> RatingReport:
    """Errors of every model; no prediction is cut to the scale."""
    errors = {
        name: model.predict(cases.histories, cases.targets) - cases.ratings
        for name, model in models.items()
    }
    protocol = {
        "split": part,
        "held out": "leave-one-out by time",
        "users": len(cases.ratings),
        "intervals": f"95 % percentile bootstrap over users, {DRAWS} draws",
        "seed": seed,
    }
    return RatingReport(protocol, errors)


def _root_differences(squares: NDArray[np.float64], at: int, seed: int) -> list[Interval]:
    """Intervals of the RMSE of column ``at`` minus that of each column, from the same draws."""
    n, rng = len(squares), np.random.default_rng(seed)
    drawn = [squares[rng.integers(n, size=n)].mean(axis=0) for _ in range(DRAWS)]
    roots = np.sqrt(np.stack([*drawn, squares.mean(axis=0)]))
    differences = roots[:, [at]] - roots
    low, high = np.quantile(differences[:-1], [0.025, 0.975], axis=0)
    value = differences[-1]
    return [
        Interval(float(v), float(min(lo, v)), float(max(hi, v)))
        for v, lo, hi in zip(value, low, high, strict=True)
    ]
