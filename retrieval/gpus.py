"""A faiss index on all GPUs, where there are any."""

from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from p5mm.retrieval.tuning import import_faiss


class OnGpus:
    """An index on GPUs, which may do one search at a time (faiss#367).

    Args:
        index: On GPUs.
    """

    def __init__(self, index: Any) -> None:
        self._index = index
        self._turn = Lock()

    def search(
        self, queries: NDArray[np.float32], k: int
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Scores and rows ``[b, k]``, best first; -1 where nothing more was found."""
        with self._turn:
            scores, rows = self._index.search(queries, k)
            return scores, rows


def on_gpus(index: Any) -> Any:
    """An index of faiss on all GPUs; itself where there are none, or none can hold it."""
    faiss = import_faiss()
    if not (hasattr(faiss, "StandardGpuResources") and faiss.get_num_gpus()):
        return index
    try:
        return OnGpus(faiss.index_cpu_to_all_gpus(index))
    except RuntimeError:  # graphs, refined scores and 8 bits a dimension are for CPUs alone
        return index
