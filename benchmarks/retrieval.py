"""Time of VectorIndex, its rows and its ids, beside raw faiss and a matrix product.

    python benchmarks/retrieval.py [--quick]

faiss is asked with the bound of matrix products that our last search has left it. Needs an idle
machine: faiss and numpy wait in spin loops, so the rows of batch 1 mean nothing beside other work.
"""

import argparse
from collections.abc import Callable

import faiss
import numpy as np
from numpy.typing import NDArray
from timing import clustered, interleaved

from p5mm.retrieval.index import VectorIndex

K = 100


def by_matmul(items: NDArray[np.float32], queries: NDArray[np.float32]) -> NDArray[np.int64]:
    scores = queries @ items.T
    best = np.argpartition(-scores, K, axis=1)[:, :K]
    order = np.argsort(-np.take_along_axis(scores, best, axis=1), axis=1)
    ranked: NDArray[np.int64] = np.take_along_axis(best, order, axis=1)
    return ranked


def row(kind: str, n: int, dim: int, batch: int) -> str:
    items = clustered(n, dim)
    queries = items[np.random.default_rng(1).integers(n, size=batch)]
    index = VectorIndex.build([str(i) for i in range(n)], items, kind)
    raw = index._index
    works: list[Callable[[], object]] = [
        lambda: raw.search(queries, K),
        lambda: index.rows_and_scores(queries, K),
        lambda: index.search(queries, K),
    ]
    if kind == "exact":
        works.append(lambda: by_matmul(items, queries))
    faiss_s, ours, with_ids, *matmul = interleaved(works, rounds=9)
    product = f"{matmul[0] * 1e3:9.2f}" if matmul else "        -"
    return (
        f"{index.factory:>14} {n:>7,} {dim:>4} {batch:>5} {faiss_s * 1e3:9.2f} {ours * 1e3:9.2f} "
        f"{ours / faiss_s:6.3f} {with_ids / faiss_s:8.3f} {product} {index.recall:7.4f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="10,000 items only")
    quick = parser.parse_args().quick
    print(f"faiss {faiss.__version__}, {faiss.omp_get_max_threads()} threads, top {K}; times in ms")
    print("         index       n  dim batch     faiss      ours  ratio with ids    matmul  recall")
    shapes = [("exact", n, d, b) for n in (10_000, 100_000) for d in (64, 512) for b in (1, 64)]
    shapes += [(kind, 200_000, 128, 64) for kind in ("exact", "ivf", "ivf-fp16")]
    for shape in [shape for shape in shapes if not quick or shape[1] == 10_000]:
        print(row(*shape), flush=True)


if __name__ == "__main__":
    main()
