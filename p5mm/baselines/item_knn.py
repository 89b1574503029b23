"""Item-kNN: items taken by the same users are near; a history asks its items' neighbours."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from p5mm.baselines.base import Arrays, baselines
from p5mm.data.histories import Histories
from p5mm.data.split import Split
from p5mm.evidence.recency import recency
from p5mm.evidence.similarity import cooccurrence, cosine_neighbours
from p5mm.metrics.validation import validation_ndcg


@baselines.register("item-knn")
@dataclass
class ItemKNN:
    """Shrunk cosine of item columns (Sarwar et al. 2001; shrinkage of Bell and Koren 2007).

    Attributes:
        neighbours: Most similar items kept of each item.
        shrinks: Values tried on validation: co-occurrences / (cosine's norm + shrink).
        decays: Values tried on validation: an item ``j`` places before the last weighs decay^j.
    """

    neighbours: int = 300
    shrinks: tuple[float, ...] = (0.0, 10.0, 40.0)
    decays: tuple[float, ...] = (1.0, 0.8, 0.5)

    def fit(self, split: Split, n_items: int) -> None:
        """Similarities of the training part; shrinkage and decay by validation NDCG@10."""
        counts = cooccurrence(split.train, n_items)
        cases, best = split.cases("valid"), -1.0
        for shrink in self.shrinks:
            similar = cosine_neighbours(counts, self.neighbours, shrink)
            for decay in self.decays:
                trial = ItemKNN()
                trial._set(similar, shrink, decay)
                ndcg = validation_ndcg(trial, cases)
                if ndcg > best:
                    best = ndcg
                    self._set(similar, shrink, decay)

    def _set(self, similar: Any, shrink: float, decay: float) -> None:
        self.similar, self.shrink, self.decay = similar, shrink, decay

    def scores(self, histories: Histories) -> NDArray[np.float32]:
        """``[b, n_items]`` float32: similarities summed over the history, recent items more."""
        weights = recency(histories, self.similar.shape[0], self.decay)
        return np.asarray((weights @ self.similar).toarray(), dtype=np.float32)

    def n_items(self) -> int:
        """Size of the catalog that it was fitted on."""
        return int(self.similar.shape[0])

    def arrays(self) -> Arrays:
        """The similarities and the settings that validation chose."""
        return {
            "data": self.similar.data,
            "indices": self.similar.indices,
            "indptr": self.similar.indptr,
            "chosen": np.array([self.shrink, self.decay]),
        }

    def restore(self, arrays: Arrays) -> None:
        """Take the similarities back.

        Raises:
            ValueError: They are no square matrix of numbers.
        """
        n_items = len(arrays["indptr"]) - 1
        entries = (arrays["data"], arrays["indices"], arrays["indptr"])
        shrink, decay = (float(value) for value in arrays["chosen"])
        similar = sp.csr_matrix(entries, shape=(n_items, n_items))
        similar.check_format(full_check=True)  # scipy reads past the end where an index is wrong
        self._set(similar, shrink, decay)
