"""Percentile bootstrap over users: how far a metric moves when other users are drawn."""

from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from p5mm.errors import InputError

DRAWS = 1000
_BLOCK = 2_000_000  # resampled users held at once


@dataclass(frozen=True)
class Interval:
    """A mean over users and its 95 % bootstrap interval; ``low <= value <= high``."""

    value: float
    low: float
    high: float

    def to_json(self) -> dict[str, float]:
        """``{"value": v, "low": l, "high": h}``."""
        return asdict(self)


def intervals(
    values: NDArray[np.floating], seed: int = 0, draws: int = DRAWS, level: float = 0.95
) -> list[Interval]:
    """Intervals of several means over the same users, from the same draws.

    Percentile bootstrap (Efron and Tibshirani 1993, chapter 13): users are drawn with
    replacement ``draws`` times; the interval holds the middle ``level`` of the means.

    Args:
        values: ``[n, m]`` one row a user, one column a metric.
        seed: Seed of the draws.
        draws: Number of resamples.
        level: Coverage.

    Returns:
        ``m`` intervals.

    Raises:
        InputError: There is no user, or a value is not finite.
    """
    if values.ndim != 2 or len(values) == 0 or not np.isfinite(values).all():
        raise InputError(
            f"cannot bootstrap values of shape {values.shape}: give finite values [users, metrics] "
            "of at least one user"
        )
    means = _resampled_means(values.astype(np.float64), np.random.default_rng(seed), draws)
    tail = (1.0 - level) / 2
    low, high = np.quantile(means, [tail, 1.0 - tail], axis=0)
    value = values.mean(axis=0, dtype=np.float64)
    # A very skewed metric can leave its own mean outside the percentiles: widen to hold it.
    return [
        Interval(float(v), float(lo), float(hi))
        for v, lo, hi in zip(value, np.minimum(low, value), np.maximum(high, value), strict=True)
    ]


def interval(values: NDArray[np.floating], seed: int = 0, draws: int = DRAWS) -> Interval:
    """The interval of one mean; ``values`` is ``[n]``, one a user."""
    return intervals(values[:, None], seed, draws)[0]


def paired(
    a: NDArray[np.floating], b: NDArray[np.floating], seed: int = 0, draws: int = DRAWS
) -> Interval:
    """The interval of mean(a) - mean(b) of two models over the same users.

    Raises:
        InputError: The two do not have the same users.
    """
    if a.shape != b.shape:
        raise InputError(f"paired values need the same users; given {a.shape} and {b.shape}")
    return interval(a - b, seed, draws)


def _resampled_means(
    values: NDArray[np.float64], rng: np.random.Generator, draws: int
) -> NDArray[np.float64]:
    """``[draws, m]`` means of users drawn with replacement, as counts times values."""
    users = len(values)
    rows = max(1, min(draws, _BLOCK // users))
    means = []
    for start in range(0, draws, rows):
        n = min(rows, draws - start)
        drawn = rng.integers(0, users, (n, users), dtype=np.int32)
        drawn += (np.arange(n, dtype=np.int32) * users)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=n * users).reshape(n, users)
        means.append(counts.astype(np.float64) @ values / users)
    return np.concatenate(means)
