"""How much of the candidates the decoder must read: python benchmarks/shortlist.py MODEL ...

Each MODEL is a folder of `p5mm train` whose decoder is weighed. Cases of its log, evenly spaced,
are ranked with shortlists of several lengths (items that somebody took + new ones); what is not
read counts as the least likely of what is. Told are NDCG@10, recall@10 and NDCG@50 among all
candidates (those not found rank nowhere), and users a second of processor time of `recommend` with
one thread. Adds a block to results.md below --runs.
"""

import argparse
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from setting import append, commit, machine

from p5mm.data.split import Cases
from p5mm.metrics.ranks import metrics_per_user
from p5mm.metrics.validation import BATCH, spaced
from p5mm.ranking.scorer import DECODER
from p5mm.ranking.trained_model import TrainedModel
from p5mm.serving.folder import read_model
from p5mm.serving.recommender import Recommender

SIZES = ((30, 10), (40, 10), (50, 10), (60, 10), (60, 50), (80, 20), (10**6, 10**6))
CASES, USERS = 4_000, 2_048


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="+", type=Path)
    parser.add_argument("--split", choices=["valid", "test"], default="valid")
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    names = " ".join(path.name for path in options.models)
    lines = [
        f"\n### Shortlists of the decoder, {options.split}\n",
        f"    python benchmarks/shortlist.py {names} --split {options.split}",
        f"    {commit()}; {machine()}\n",
        "| model | read | ndcg@10 | recall@10 | ndcg@50 | users a processor second |",
        "|---" * 6 + "|",
    ]
    for path in options.models:
        lines += _rows(path, options.split)
    append("\n".join([*lines, ""]), options.runs)


def _rows(path: Path, split: str) -> list[str]:
    model, rows = read_model(path), []
    if not model.scorer.weights.get(DECODER):
        raise SystemExit(f"{path}: its decoder is not weighed")
    cases = model.split.cases(split).in_rows(model.rows)
    for taken, new in SIZES:
        read = "all" if taken == SIZES[-1][0] else f"{taken} + {new}"
        short = _reading(model, taken, new)
        told = metrics_per_user(_ranks(short, cases), (10, 50))
        values = [told[name].mean() for name in ("ndcg@10", "recall@10", "ndcg@50")]
        cells = " | ".join(f"{value:.4f}" for value in values)
        rows.append(f"| {path.name} | {read} | {cells} | {_speed(short):.0f} |")
        print(rows[-1], flush=True)
    return rows


def _reading(model: TrainedModel, taken: int, new: int) -> TrainedModel:
    """The same model with another shortlist; what validation chose stays."""
    config = model.config
    retrieval, cold = config.retrieval, config.cold
    config = replace(
        config,
        retrieval=replace(retrieval, shortlist=taken),
        cold=replace(cold, shortlist=new),
    )
    return replace(model, config=config)


def _ranks(model: TrainedModel, cases: Cases) -> NDArray[np.float64]:
    """Rank of each target among the candidates, infinite where it is none."""
    scorer, ranks = model.scorer, []
    for some in spaced(cases, BATCH, CASES):
        part = cases.take(some)
        rows, _ = scorer.rank(part.histories, 50, part.histories)
        hits = rows == part.targets[:, None]
        ranks.append(np.where(hits.any(axis=1), 1.0 + hits.argmax(axis=1), np.inf))
    return np.concatenate(ranks)


def _speed(model: TrainedModel) -> float:
    recommender, users = Recommender(model), model.user_ids[:USERS]
    seconds = []
    for _ in range(3):
        start = time.process_time()
        recommender.recommend(users, k=10)
        seconds.append(time.process_time() - start)
    return len(users) / float(np.median(seconds))


if __name__ == "__main__":
    main()
