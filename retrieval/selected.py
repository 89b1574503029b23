"""An approximate faiss index in which only some rows may be found."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from p5mm.retrieval.tuning import import_faiss


class Selected:
    """A faiss index searched with a selector; it finds places among the rows selected.

    Args:
        index: IVF, HNSW, or one of them with refined scores.
        rows: ``[m]`` int64, ascending.
    """

    def __init__(self, index: Any, rows: NDArray[np.int64]) -> None:
        self.d = index.d
        self._index = index
        self._rows = np.ascontiguousarray(rows, dtype=np.int64)
        self._selector = import_faiss().IDSelectorBatch(self._rows)

    def search(
        self, queries: NDArray[np.float32], k: int
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Scores and places ``[b, k]``, best first; -1 where nothing more was found."""
        parameters = _parameters(self._index, self._selector)
        scores, rows = self._index.search(queries, k, params=parameters)
        return scores, np.where(rows < 0, -1, np.searchsorted(self._rows, rows))


def _parameters(index: Any, selector: Any) -> Any:
    """Search parameters of an index's own effort, with a selector."""
    faiss = import_faiss()
    if isinstance(index, faiss.IndexRefine):
        base = _parameters(faiss.downcast_index(index.base_index), selector)
        return faiss.IndexRefineSearchParameters(k_factor=index.k_factor, base_index_params=base)
    if isinstance(index, faiss.IndexPreTransform):
        inner = _parameters(faiss.downcast_index(index.index), selector)
        return faiss.SearchParametersPreTransform(index_params=inner)
    if isinstance(index, faiss.IndexIVF):
        return faiss.SearchParametersIVF(sel=selector, nprobe=index.nprobe)
    if isinstance(index, faiss.IndexHNSW):
        return faiss.SearchParametersHNSW(sel=selector, efSearch=index.hnsw.efSearch)
    return faiss.SearchParameters(sel=selector)
