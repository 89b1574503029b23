"""On GPUs, which this machine need not have: one search at a time, and what they hold."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import faiss
import numpy as np
import pytest

from p5mm.retrieval.index import VectorIndex

VECTORS = np.random.default_rng(0).normal(size=(50, 8)).astype(np.float32)
NAMES = [f"i{row}" for row in range(50)]


class Busy:
    """An index that fails where a search begins while another goes on."""

    def __init__(self, index):
        self.index = index
        self.turn = threading.Lock()

    def search(self, queries, k):
        if not self.turn.acquire(blocking=False):
            raise RuntimeError("two searches at once")
        time.sleep(0.01)
        found = self.index.search(queries, k)
        self.turn.release()
        return found


@pytest.fixture
def gpus(monkeypatch):
    def moved(index):
        if not isinstance(index, faiss.IndexFlat):
            raise RuntimeError("This index type is not implemented on GPU.")
        return Busy(index)

    monkeypatch.setattr(faiss, "StandardGpuResources", object, raising=False)
    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 1, raising=False)
    monkeypatch.setattr(faiss, "index_cpu_to_all_gpus", moved, raising=False)


def test_threads_search_one_after_the_other(gpus):
    index = VectorIndex.build(NAMES, VECTORS)
    assert isinstance(index._search._index, Busy)
    with ThreadPoolExecutor(4) as pool:
        found = [*pool.map(lambda row: index.search(VECTORS[[row]], 1)[0], range(12))]
    assert found == [[[NAMES[best]]] for best in (VECTORS @ VECTORS[:12].T).argmax(axis=0)]


@pytest.mark.parametrize("kind", ["hnsw", "SQ8"])
def test_what_no_gpu_holds_is_searched_here(gpus, kind):
    queries = VECTORS[:5]
    here = VectorIndex.build(NAMES, VECTORS, kind).search(queries, 1)[0]
    assert here == VectorIndex.build(NAMES, VECTORS).search(queries, 1)[0]
