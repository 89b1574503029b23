"""What it costs a user to search the whole catalog, by its size, with an index and without.

    python benchmarks/full_catalog.py [--sizes 10000 100000 1000000]

Vectors are made (64 numbers, 1,000 clusters, as benchmarks/retrieval.py makes them); 64 queries at
once ask for their best 100. `exact` compares all items, `auto` is what a model takes at that size.
Told are milliseconds a query, the mean share of the exact best 100 that is found, and how long the
index takes to build; a picture, full-catalog.png, lies below --runs. Needs an idle machine and
matplotlib: pip install -e ".[benchmarks]". 10,000,000 items take some 12 GB.
"""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import faiss
import numpy as np
from matplotlib.figure import Figure
from setting import append, commit, machine
from timing import clustered, interleaved

from p5mm.retrieval.index import VectorIndex

DIM, BATCH, K = 64, 64, 100
KINDS = ("exact", "auto")
Row = dict[str, tuple[str, float, float, float]]  # kind to factory, ms, recall, seconds to build


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", nargs="+", type=int, default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    options = parser.parse_args()
    rows = {size: _row(size) for size in options.sizes}
    options.runs.mkdir(parents=True, exist_ok=True)
    _draw(rows, options.runs / "full-catalog.png")
    append(_block(rows, options.sizes), options.runs)


def _row(size: int) -> Row:
    items = clustered(size, DIM)
    queries = items[np.random.default_rng(1).integers(size, size=BATCH)]
    ids = [str(number) for number in range(size)]
    built = {}
    for kind in KINDS:
        start = time.perf_counter()
        built[kind] = VectorIndex.build(ids, items, kind), time.perf_counter() - start
    exact = built["exact"][0].rows(queries, K)
    times = interleaved([lambda index=index: index.rows(queries, K) for index, _ in built.values()])
    told: Row = {}
    for (kind, (index, seconds)), each in zip(built.items(), times, strict=True):
        found = index.rows(queries, K)
        shared = [len(np.intersect1d(a, b)) / K for a, b in zip(found, exact, strict=True)]
        told[kind] = index.factory, 1e3 * each / BATCH, float(np.mean(shared)), seconds
        print(f"{size:,} {kind}: {told[kind]}", flush=True)
    return told


def _draw(rows: dict[int, Row], path: Path) -> None:
    figure = Figure((5, 3.5), layout="constrained", dpi=120)
    axes = figure.add_subplot(xlabel="items", ylabel="ms a user", xscale="log", yscale="log")
    for kind in KINDS:
        axes.plot(list(rows), [row[kind][1] for row in rows.values()], marker="o", label=kind)
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path)


def _block(rows: dict[int, Row], sizes: Sequence[int]) -> str:
    lines = [
        "\n### The whole catalog\n",
        f"    python benchmarks/full_catalog.py --sizes {' '.join(map(str, sizes))}",
        f"    {commit()}; {machine()}; faiss {faiss.omp_get_max_threads()} threads\n",
        "| items | index | ms a user | recall@100 | built in |",
        "|---|---|---|---|---|",
    ]
    for size, row in rows.items():
        for factory, each, recall, seconds in row.values():
            lines.append(f"| {size:,} | {factory} | {each:.3f} | {recall:.4f} | {seconds:.1f} s |")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    main()
