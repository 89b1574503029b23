"""What the codes of a model's items look like, and those of items that come later.

    python benchmarks/codes.py MODEL [--levels 3] [--size 256] [--seed 0]

Fits the codes on nine tenths of the retriever's item vectors; the rest get theirs by assignment, as
an added item does. Also told: how many of the ten nearest items begin with the same digit.
"""

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from setting import commit, machine

from p5mm.retrieval.codes import Codes, fit_codes
from p5mm.retrieval.index import VectorIndex
from p5mm.serving.folder import read_model

NEAREST = 10


def together(codes: Codes, vectors: NDArray[np.float32]) -> tuple[float, float]:
    """Share of the nearest items whose first digit is the item's own, and of all items."""
    index = VectorIndex.build([str(row) for row in range(len(vectors))], vectors, "exact")
    nearest = index.rows(vectors, NEAREST + 1)
    others = nearest != np.arange(len(vectors))[:, None]
    first = codes.assign(vectors)[:, 0]
    near = (first[nearest] == first[:, None])[others].mean()
    return float(near), float(((np.bincount(first) / len(first)) ** 2).sum())


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--levels", type=int, default=3)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    model = read_model(given.model)
    vectors = model.scorer.vectors.numpy()
    order = np.random.default_rng(given.seed).permutation(len(vectors))
    later, early = np.split(order, [len(order) // 10])
    print(f"{given.model.name}: {commit()}, seed {given.seed}, {machine()}")
    codes = fit_codes(vectors[early], given.levels, given.size, given.seed)
    for name, rows in (("fitted", early), ("assigned", later), ("all", order)):
        ids = [model.catalog.item_ids[row] for row in rows]
        print(f"{name}:\n{codes.report(vectors[rows], ids)}")
    near, chance = together(codes, vectors)
    print(f"of the {NEAREST} nearest {near:.1%} begin with the same digit; of all {chance:.1%}")


if __name__ == "__main__":
    main()
