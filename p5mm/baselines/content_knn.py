"""Content-kNN: an item that looks or reads like those of the history; nothing is learned."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from p5mm.data.histories import Histories
from p5mm.evidence.recency import recency

DECAYS = (0.5, 0.8, 0.95, 1.0)
SHARPNESS = (0.0, 4.0, 16.0)  # 0 is the mean over the history; higher is nearer to the maximum
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True)
class ContentKNN:
    """``sum_m w_m * sum_j decay^j exp(sharpness * cos_m(candidate, item_j)) / sum_j decay^j``.

    With sharpness 0 the exponential is the cosine itself, so that the score is a mean.

    Attributes:
        vectors: Modality to unit vectors ``[n_items, dim]`` float32, zero where absent.
        weights: Modality to its weight; those that are missing weigh nothing.
        decay: An item ``j`` places before the last weighs decay^j.
        sharpness: How much the nearest items of a history count for more than the others.
    """

    vectors: Mapping[str, NDArray[np.float32]]
    weights: Mapping[str, float]
    decay: float
    sharpness: float

    def scores(self, histories: Histories) -> NDArray[np.float32]:
        """``[b, n_items]`` float32: weighted closeness to the items of the history."""
        n_items = len(next(iter(self.vectors.values())))
        scores = np.zeros((len(histories), n_items), dtype=np.float32)
        for name, weight in self.weights.items():
            if weight:
                scores += np.float32(weight) * self.closeness(name, histories)
        return scores

    def closeness(self, name: str, histories: Histories) -> NDArray[np.float32]:
        """``[b, n_items]`` float32 of one modality."""
        vectors = self.vectors[name]
        weights = recency(histories, len(vectors), self.decay)
        totals = np.maximum(np.asarray(weights.sum(1)), np.float32(1e-12))
        if not self.sharpness:
            return np.asarray((weights @ vectors) @ vectors.T / totals, dtype=np.float32)
        used = np.unique(histories.items)
        near = np.exp(np.float32(self.sharpness) * (vectors[used] @ vectors.T))
        return np.asarray((weights[:, used] @ near) / totals, dtype=np.float32)


def unit(vectors: Mapping[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
    """The same vectors at length 1; zero stays zero."""
    lengths = {name: np.linalg.norm(v, axis=1, keepdims=True) for name, v in vectors.items()}
    return {name: v / np.maximum(lengths[name], 1e-12) for name, v in vectors.items()}


def tuned(
    vectors: Mapping[str, NDArray[np.float32]], measure: Callable[[ContentKNN], float]
) -> ContentKNN:
    """The best settings by a measure on validation: weights, decay and sharpness, weights again.

    Args:
        vectors: Name to ``[n_items, dim]``, zero where absent. A modality may be there twice, as
            it is and whitened.
        measure: Higher is better.
    """
    ranker = ContentKNN(unit(vectors), {}, 1.0, 0.0)
    shares: list[dict[str, Any]] = [{"weights": weights} for weights in weightings(list(vectors))]
    means: list[dict[str, Any]] = [{"decay": decay, "sharpness": 0.0} for decay in DECAYS]
    both: list[dict[str, Any]] = [
        {"decay": d, "sharpness": s} for d, s in product(DECAYS, SHARPNESS)
    ]
    # Sharpness is dear: it needs the cosine of every pair. The mean finds the first weights.
    ranker = max((replace(ranker, **a, **b) for a, b in product(shares, means)), key=measure)
    ranker = max((replace(ranker, **b) for b in both), key=measure)
    return max((replace(ranker, **a) for a in shares), key=measure)


def weightings(names: Sequence[str]) -> Iterator[dict[str, float]]:
    """Weights of modalities that sum to 1, in quarters."""
    for shares in product(SHARES, repeat=len(names)):
        if sum(shares) == 1.0:
            yield dict(zip(names, shares, strict=True))
