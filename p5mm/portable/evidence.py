"""What candidates have to do with a history, as p5mm.evidence says it, without torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from p5mm.data.histories import Histories
from p5mm.evidence.pair_values import PairValues
from p5mm.evidence.recency import latest, recency
from p5mm.portable.vectors import Vectors

TOGETHER = 0  # the column of the pairs that neighbours are in


@dataclass(frozen=True)
class Evidence:
    """Relations and similarities of candidates to the items of a history.

    Attributes:
        pairs: What the log says of pairs.
        taken: ``[n]`` float32 how many users took an item.
        content: Modality to unit vectors, zero where an item lacks it.
        learned: Unit retrieval vectors.
        reach: Items of a history whose relations are read.
        rating_scale: Mean and spread of ratings in training.
        decay: An item j places before the last of a history weighs decay^j in a similarity.
    """

    pairs: PairValues
    taken: NDArray[np.float32]
    content: Mapping[str, Vectors]
    learned: Vectors
    reach: int
    rating_scale: tuple[float, float]
    decay: float

    def relations(self, histories: Histories, candidates: NDArray[np.int64]) -> NDArray[np.float32]:
        """``[b, n, s, r]`` as `p5mm.evidence.relations.Relations` gives them."""
        rows, ratings, real = latest(histories, self.reach, self.rating_scale)
        pairs = self.pairs(rows, candidates)
        known = pairs.shape[-1]
        vectors = (*self.content.values(), self.learned)
        found = np.empty((*pairs.shape[:-1], known + len(vectors) + 1), dtype=np.float32)
        found[..., :known], found[..., -1] = pairs, ratings[:, None]
        for column, of in enumerate(vectors, start=known):
            found[..., column] = of[candidates] @ of[rows].transpose(0, 2, 1)
        others = real[:, None] & (rows[:, None] != candidates[..., None])
        found *= others[..., None]
        return found

    def facts(
        self, logits: NDArray[np.float32], histories: Histories, candidates: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """``[b, n, 4]`` as `p5mm.evidence.relations.Relations.facts` gives them."""
        taken = self.taken[candidates]
        lengths = np.log1p(histories.lengths.astype(np.float32))[:, None]
        columns = [logits, np.log1p(taken), taken == 0, np.broadcast_to(lengths, logits.shape)]
        return np.stack(columns, axis=-1).astype(np.float32)

    def together(self, histories: Histories, candidates: NDArray[np.int64]) -> NDArray[np.float32]:
        """``[b, n]`` how often candidates were taken with the items of a history."""
        places = self.pairs.places
        entries = (self.pairs.values[places.data, TOGETHER], places.indices, places.indptr)
        reached = self._weights(histories) @ sp.csr_matrix(entries, shape=places.shape)
        lines = np.arange(len(histories))[:, None]
        return np.asarray(reached.tocsr()[lines, candidates].todense(), dtype=np.float32)

    def likeness(
        self, name: str, histories: Histories, candidates: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """``[b, n]`` cosines of candidates and the sum of a history, of one modality."""
        weights, vectors = self._weights(histories), self.content[name]
        read = np.unique(weights.indices)
        wanted = unit(weights[:, read] @ vectors[read])
        found: NDArray[np.float32] = (vectors[candidates] @ wanted[..., None])[..., 0]
        return found

    def _weights(self, histories: Histories) -> Any:
        return recency(histories, len(self.taken), self.decay)


def unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Vectors ``[b, d]`` of length 1, or 0 where they had."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    found: NDArray[np.float32] = vectors / np.maximum(lengths, np.float32(1e-12))
    return found
