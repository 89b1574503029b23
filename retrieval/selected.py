"""An approximate faiss index in which only some rows may be found."""

import math
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from p5mm.retrieval.tuning import import_faiss


class Selected:
    """A faiss index searched with a selector; it finds places among the rows selected.

    The fewer rows are selected, the farther apart are those that are asked for: the effort that
    finds the best of all rows grows by as much.

    Args:
        index: IVF, HNSW, or one of them with refined scores.
        rows: ``[m]`` int64, ascending.
    """

    def __init__(self, index: Any, rows: NDArray[np.int64]) -> None:
        self.d = index.d
        self._index = index
        self._rows = np.ascontiguousarray(rows, dtype=np.int64)
        self._selector = import_faiss().IDSelectorBatch(self._rows)
        self._more = index.ntotal / max(1, len(rows))

    @cached_property
    def _exact(self) -> Any:
        """An exact index of the rows selected alone."""
        exact = import_faiss().IndexFlatIP(self.d)
        exact.add(self._index.reconstruct_batch(self._rows))
        return exact

    def among(self, rows: NDArray[np.int64]) -> "Selected":
        """The same index, of which only some of these rows, places ``[m]``, may be found."""
        return Selected(self._index, self._rows[rows])

    def search(
        self, queries: NDArray[np.float32], k: int
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Scores and places ``[b, k]``, best first; -1 where nothing more was found."""
        parameters = _parameters(self._index, self._selector, self._more)
        scores, rows = self._index.search(queries, k, params=parameters)
        short = (rows < 0).any(axis=1) if k <= len(self._rows) else np.zeros(len(rows), bool)
        if short.any():  # there are as many: everything is looked at
            everything = _parameters(self._index, self._selector, self._index.ntotal)
            scores[short], rows[short] = self._index.search(queries[short], k, params=everything)
            short &= (rows < 0).any(axis=1)
        if short.any():  # a graph of many equal vectors does not lead everywhere
            scores[short], places = self._exact.search(queries[short], k)
            rows[short] = self._rows[places]
        return scores, np.where(rows < 0, -1, np.searchsorted(self._rows, rows))


def _parameters(index: Any, selector: Any, more: float) -> Any:
    """Search parameters with a selector, and ``more`` times an index's own effort."""
    faiss = import_faiss()
    if isinstance(index, faiss.IndexRefine):
        base = _parameters(faiss.downcast_index(index.base_index), selector, more)
        return faiss.IndexRefineSearchParameters(k_factor=index.k_factor, base_index_params=base)
    if isinstance(index, faiss.IndexIVF):
        lists = min(index.nlist, math.ceil(more * index.nprobe))
        return faiss.SearchParametersIVF(sel=selector, nprobe=lists)
    if isinstance(index, faiss.IndexHNSW):
        queue = min(index.ntotal, math.ceil(more * index.hnsw.efSearch))
        return faiss.SearchParametersHNSW(sel=selector, efSearch=queue)
    return faiss.SearchParameters(sel=selector)
