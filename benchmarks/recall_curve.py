"""How much of the exact best 100 an index finds, by how long a query may take.

    python benchmarks/recall_curve.py [--sizes 100000 1000000] [--kinds ivf hnsw ivf-fp16]

Vectors are made: 64 numbers, each weaker than the one before by a fourteenth, as an encoder's
components are, and no clusters, which is the hardest case for lists. 256 of them are asked for at
once. Each kind of index is built once and asked with every effort of its tuning; the ring marks
the effort that `VectorIndex.build` takes. A picture, recall-curve.png, lies below --runs. Needs an
idle machine and matplotlib: pip install -e ".[benchmarks]". 10,000,000 items take some 12 GB.
"""

import argparse
import time
from dataclasses import dataclass
from pathlib import Path

import faiss
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from setting import append, commit, machine
from timing import interleaved

from p5mm.retrieval.index import VectorIndex
from p5mm.retrieval.tuning import efforts, overlap

DIM, QUERIES, K = 64, 256, 100
GOALS = (0.9, 0.95, 0.99)


@dataclass(frozen=True)
class Curve:
    """One index, asked with every effort.

    Attributes:
        factory: Of the index.
        points: Milliseconds a query and recall@100 of each effort.
        chosen: Which of them the index is built with.
        seconds: That it takes to build.
    """

    factory: str
    points: list[tuple[float, float]]
    chosen: int
    seconds: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", nargs="+", type=int, default=[100_000, 1_000_000])
    parser.add_argument("--kinds", nargs="+", default=["ivf", "hnsw", "ivf-fp16"])
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    options = parser.parse_args()
    curves = {size: _curves(size, options.kinds) for size in options.sizes}
    options.runs.mkdir(parents=True, exist_ok=True)
    _draw(curves, options.runs / "recall-curve.png")
    append(_block(curves, options), options.runs)


def _vectors(size: int) -> NDArray[np.float32]:
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((size, DIM), dtype=np.float32)
    vectors *= (0.93 ** np.arange(DIM)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


def _curves(size: int, kinds: list[str]) -> list[Curve]:
    items = _vectors(size)
    queries = items[np.random.default_rng(1).integers(size, size=QUERIES)]
    _, truth = faiss.knn(queries, items, K, metric=faiss.METRIC_INNER_PRODUCT)
    ids = [str(number) for number in range(size)]
    return [_curve(kind, ids, items, queries, truth) for kind in kinds]


def _curve(
    kind: str,
    ids: list[str],
    items: NDArray[np.float32],
    queries: NDArray[np.float32],
    truth: NDArray[np.int64],
) -> Curve:
    start = time.perf_counter()
    built = VectorIndex.build(ids, items, kind)
    took = time.perf_counter() - start
    index, space, points = built._index, faiss.ParameterSpace(), []
    recall = overlap(built.rows(queries, K), truth)
    for effort in efforts(index, len(ids)):
        space.set_index_parameters(index, effort)
        found = overlap(index.search(queries, K)[1], truth)
        [each] = interleaved([lambda: index.search(queries, K)], rounds=3)
        points.append((1e3 * each / QUERIES, found))
        print(f"{len(ids):,} {built.factory} {effort}: {points[-1]}", flush=True)
        if found > 0.999:
            break
    chosen = min(range(len(points)), key=lambda place: abs(points[place][1] - recall))
    return Curve(built.factory, points, chosen, took)


def _draw(curves: dict[int, list[Curve]], path: Path) -> None:
    figure = Figure((6.5, 4), layout="constrained", dpi=120)
    axes = figure.add_subplot(xlabel="ms a query", ylabel="recall@100", xscale="log")
    for size, of_size in curves.items():
        for curve in of_size:
            times, recalls = zip(*curve.points, strict=True)
            [line] = axes.plot(times, recalls, marker=".", label=f"{size:,} {curve.factory}")
            ring = {"marker": "o", "mfc": "none", "ms": 9, "color": line.get_color()}
            axes.plot(times[curve.chosen], recalls[curve.chosen], **ring)
    axes.axhline(0.99, lw=0.5, color="black")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=7)
    figure.savefig(path)


def _block(curves: dict[int, list[Curve]], options: argparse.Namespace) -> str:
    lines = [
        "\n### Recall by time\n",
        f"    python benchmarks/recall_curve.py --sizes {' '.join(map(str, options.sizes))} "
        f"--kinds {' '.join(options.kinds)}",
        f"    {commit()}; {machine()}; faiss {faiss.omp_get_max_threads()} threads\n",
        "| items | index | built in | ms for .9 | .95 | .99 | as built: ms | recall@100 |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for size, of_size in curves.items():
        for curve in of_size:
            told = [_least(curve, goal) for goal in GOALS]
            told += [f"{value:.3g}" for value in curve.points[curve.chosen]]
            cells = [f"{size:,}", curve.factory, f"{curve.seconds:.0f} s", *told]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, ""])


def _least(curve: Curve, goal: float) -> str:
    """Milliseconds of the least effort that finds as much."""
    times = [each for each, found in curve.points if found >= goal]
    return f"{times[0]:.3g}" if times else "-"


if __name__ == "__main__":
    main()
