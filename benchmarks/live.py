"""One item more of a live history against reading it anew: python benchmarks/live.py MODEL.

MODEL is a trained model's folder. Histories are random items of its catalog; each time is the
median of several, both in turn. Adds a table to results.md below --runs.
"""

import argparse
import time
from pathlib import Path
from statistics import median

import numpy as np
from setting import append, commit, machine

from p5mm.data.histories import Histories
from p5mm.ranking.live_history import LiveHistory
from p5mm.serving.folder import read_model

LENGTHS = (10, 50, 100, 199)
REPEATS = 50


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    options = parser.parse_args()
    scorer = read_model(options.model).scorer
    rng = np.random.default_rng(0)
    lines = [
        f"\n    python benchmarks/live.py {options.model.name}",
        f"    {commit()}; {machine()}; seed 0; reads {scorer.asking.max_history} items\n",
        "| items before | read anew | one more | ratio |",
        "|---|---|---|---|",
    ]
    for length in LENGTHS:
        items = rng.integers(len(scorer.tokens), size=length + 1)
        live, whole = LiveHistory.of(scorer, _one(items[:-1])), _one(items)
        anew, more = [], []
        for _ in range(REPEATS):
            start = time.perf_counter()
            scorer.encode(whole)
            between = time.perf_counter()
            _ = live.append(int(items[-1])).encoded
            anew.append(between - start)
            more.append(time.perf_counter() - between)
        ratio = median(anew) / median(more)
        cells = [f"{1e3 * median(times):.2f} ms" for times in (anew, more)]
        lines.append(f"| {length} | {' | '.join(cells)} | {ratio:.1f} |")
    append("\n".join([*lines, ""]), options.runs)


def _one(items: np.ndarray) -> Histories:
    return Histories(items.astype(np.int64), np.array([0, len(items)]))


if __name__ == "__main__":
    main()
