"""What the T5 generates from codes alone, beside the dense retriever of the same model.

    p5mm train amazon-beauty --data FOLDER --retrieval.generate true --out MODEL
    python benchmarks/generation.py MODEL [--split valid] [--width 100] [--users 0]
        [--learned 1]

Ranks are those in one beam: an item's score is that of its code; no item vector is looked at, seen
items are a deny list. Also told: whether generated and dense candidates together hold more targets
than as many dense ones, and what reranking makes of each. --learned 0 scores with the centroids
alone, as before the decoder has learned, --learned .5 with half of what it has.
"""

import argparse
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from setting import commit, machine

from p5mm.data.split import Cases
from p5mm.metrics.intervals import intervals
from p5mm.metrics.ranks import metrics_per_user
from p5mm.ranking.generator import Generator
from p5mm.ranking.scorer import Scorer
from p5mm.ranking.trained_model import TrainedModel
from p5mm.serving.folder import read_model

BATCH = 128
GENERATED, DENSE = "generated", "dense"
SERVED = (GENERATED, DENSE, "union")  # whose reranking is told


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--split", choices=["valid", "test"], default="valid")
    parser.add_argument("--width", type=int, default=100)
    parser.add_argument("--users", type=int, default=0, help="so many, evenly spaced; 0 for all")
    parser.add_argument("--learned", type=float, default=1.0)
    given = parser.parse_args()
    model = read_model(given.model)
    for parameter in model.network.known_codes.parameters():
        parameter.data.mul_(given.learned)
    cases = some(model.split.cases(given.split).in_rows(model.rows), given.users)
    ranks, seconds, size = ranked(model, cases, given.width)
    print(
        f"{given.model.name}: {given.split}, {len(cases)} users, {len(model.rows)} items, beam "
        f"{given.width}, learned {given.learned:g}, seed {model.config.train.seed}; "
        f"{commit()}, {machine()}"
    )
    retrieval = model.config.retrieval
    print(f"codes of {retrieval.code_levels} x {retrieval.code_size}, and one digit more")
    cuts = (10, 50, given.width, size)  # the last: as many as the union has
    for name, places in ranks.items():
        metrics = metrics_per_user(places, cuts)
        names = ["recall@10", "ndcg@10", *(f"recall@{cut}" for cut in cuts[1:])]
        told = intervals(np.column_stack([metrics[metric] for metric in names]))
        print(
            f"{name:>24}: "
            + ", ".join(
                f"{metric} {value.value:.4f} [{value.low:.4f}, {value.high:.4f}]"
                for metric, value in zip(names, told, strict=True)
            )
        )
    for name, spent in seconds.items():
        print(f"{name}: {len(cases) / spent:.0f} users/s")


def some(cases: Cases, users: int) -> Cases:
    """The cases in batches of like length; of more than ``users`` as many, evenly spaced."""
    count = min(users or len(cases), len(cases))
    rows = np.unique(np.linspace(0, len(cases) - 1, count).astype(np.int64))
    return cases.take(rows[np.argsort(cases.histories.lengths[rows], kind="stable")])


def ranked(
    model: TrainedModel, cases: Cases, width: int
) -> tuple[dict[str, NDArray[np.float64]], dict[str, float], int]:
    """Rank of each target among candidates of each kind, seconds, and the union's mean size."""
    retriever = dense_scorer(model)
    generator = Generator.of(model.network).handicapped(model.fitted.handicap).among(model.rows)
    prompt = retriever.asking.prompt
    asking = replace(retriever.asking, candidates=2 * width, newcomers=0)
    twice = replace(retriever, asking=asking)
    ranks: dict[str, list[NDArray[np.float64]]] = {}
    sizes: list[NDArray[np.int64]] = []
    seconds = dict.fromkeys((GENERATED, DENSE), 0.0)
    for begin in range(0, len(cases), BATCH):
        part = cases.take(np.arange(begin, min(begin + BATCH, len(cases))))
        encoded, found = retriever.encode(part.histories), {}
        start = time.perf_counter()
        found[GENERATED] = generator.find(encoded, prompt, part.histories, width, width)
        seconds[GENERATED] += time.perf_counter() - start
        start = time.perf_counter()
        dense = twice.retrieve(encoded, part.histories)
        seconds[DENSE] += time.perf_counter() - start
        found[DENSE], found[f"dense, {2 * width}"] = dense[:, :width], dense
        both = united(found[GENERATED], found[DENSE])
        found["union"] = both
        sizes.append((both >= 0).sum(axis=1))
        for name in SERVED:
            rows = found[name]
            scores = retriever.rerank(encoded, part.histories, torch.from_numpy(rows).clamp(min=0))
            order = np.argsort(-np.where(rows < 0, -np.inf, scores.numpy()), axis=1, kind="stable")
            found[f"{name}, reranked"] = np.take_along_axis(rows, order, axis=1)
        for name, rows in found.items():
            ranks.setdefault(name, []).append(places(rows, part.targets))
    size = round(float(np.concatenate(sizes).mean()))
    return {name: np.concatenate(parts) for name, parts in ranks.items()}, seconds, size


def dense_scorer(model: TrainedModel) -> Scorer:
    """The model's scorer with an index of item vectors, whatever the model retrieves by."""
    config = replace(model.config, retrieval=replace(model.config.retrieval, generate=False))
    return replace(model, config=config, saved_index=None).scorer.within(model.rows)


def united(first: NDArray[np.int64], second: NDArray[np.int64]) -> NDArray[np.int64]:
    """Two lists of rows ``[b, n]`` in turn, each row once; -1 beyond the last."""
    merged = np.full((len(first), first.shape[1] + second.shape[1]), -1)
    for line, (one, other) in enumerate(zip(first.tolist(), second.tolist(), strict=True)):
        turns = dict.fromkeys(row for pair in zip(one, other, strict=True) for row in pair)
        known = [row for row in turns if row >= 0]
        merged[line, : len(known)] = known
    return merged


def places(rows: NDArray[np.int64], targets: NDArray[np.int64]) -> NDArray[np.float64]:
    """Rank, from 1, of each target in a list of rows ``[b, n]``; infinity where it is not there."""
    hits = rows == targets[:, None]
    return np.where(hits.any(axis=1), hits.argmax(axis=1) + 1.0, np.inf)


if __name__ == "__main__":
    main()
