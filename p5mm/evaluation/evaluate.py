"""Evaluate rankers on the same cases: full ranking, slices, baselines beside."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from p5mm.baselines.base import Baseline, baselines, fit_once
from p5mm.data.split import Cases, Split
from p5mm.errors import InputError
from p5mm.evaluation.report import RETRIEVER, PerUser, Report
from p5mm.metrics.intervals import DRAWS
from p5mm.metrics.ranker import Ranker
from p5mm.metrics.ranks import KS, expected_ranks, metrics_per_user, top_items

BASELINES = ("sasrec", "bpr", "item-knn", "popularity")
LENGTH_EDGES = (5, 10, 20, 50)
TAIL_EDGES = (5, 20, 100)


def evaluate(
    rankers: Mapping[str, Ranker],
    cases: Cases,
    n_items: int,
    ks: Sequence[int] = KS,
    seed: int = 0,
    batch: int = 256,
    *,
    split: str = "test",
    candidates: int = 100,
    keep_seen: bool = False,
) -> Report:
    """Rank every target among the whole catalog with each ranker.

    Args:
        rankers: Name to ranker; ``p5mm`` is compared with the others, ``retriever`` gives recall@N.
        cases: Histories and targets; the histories are the seen items.
        n_items: Catalog size.
        ks: Cut-offs.
        seed: Seed of the bootstrap.
        batch: Cases scored at once; never more than ``[batch, n_items]`` is held.
        split: Name of the part, for the protocol.
        candidates: N of the retriever's recall@N.
        keep_seen: Nothing is filtered: seen items compete with the target.

    Raises:
        InputError: There are no cases, or a ranker gives scores of another shape or NaN.
    """
    if len(cases) == 0:
        raise InputError("nothing to evaluate: no user has the three items that a case needs")
    # Similar lengths together: rankers that pad waste little.
    order = np.argsort(cases.histories.lengths, kind="stable")
    per_user: dict[str, PerUser] = {}
    coverage: dict[str, dict[str, float]] = {}
    retrieval: dict[str, float] = {}
    for name, ranker in rankers.items():
        ranks, shown = _rank_all(name, ranker, cases, n_items, tuple(ks), order, batch, keep_seen)
        per_user[name] = metrics_per_user(ranks, ks)
        coverage[name] = {f"coverage@{k}": float(shown[k].mean()) for k in ks}
        if name == RETRIEVER:
            retrieval[f"recall@{candidates}"] = float(np.mean(ranks <= candidates))
    protocol = {
        "split": split,
        "held out": "leave-one-out by time",
        "ranking": "full catalog",
        "users": len(cases),
        "items": n_items,
        "seen filtered": not keep_seen,
        "ties": "expected rank",
        "ks": list(ks),
        "intervals": f"95 % percentile bootstrap over users, {DRAWS} draws",
        "seed": seed,
    }
    return Report(protocol, per_user, coverage, retrieval, slices(cases, n_items))


def fit_baselines(
    split: Split,
    n_items: int,
    cache_dir: Path | None = None,
    names: Sequence[str] = BASELINES,
    seed: int = 0,
) -> dict[str, Ranker]:
    """Fitted baselines by name, from the cache where log, catalog size and settings agree.

    Args:
        split: The log; training part and validation cases are used, test cases never.
        n_items: Catalog size.
        cache_dir: Folder of ``<name>.safetensors``; None keeps nothing.
        names: Registered baselines.
        seed: Seed of those that have one.

    Raises:
        InputError: A name is unknown.
    """
    fitted: dict[str, Ranker] = {}
    for name in names:
        baseline: Baseline = baselines.get(name)()
        if hasattr(baseline, "seed"):
            baseline.seed = seed
        path = None if cache_dir is None else cache_dir / f"{name}.safetensors"
        fit_once(baseline, split, n_items, path)
        fitted[name] = baseline
    return fitted


def slices(cases: Cases, n_items: int) -> dict[str, NDArray[np.bool_]]:
    """Cases by length of the history and by how often the target was taken by others.

    Popularity counts the items of all histories, that is, what is known before the targets.
    """
    taken = np.bincount(cases.histories.items, minlength=n_items)[cases.targets]
    by_length = _bins("history", cases.histories.lengths, LENGTH_EDGES)
    return by_length | _bins("target taken", taken, TAIL_EDGES)


def _rank_all(
    name: str,
    ranker: Ranker,
    cases: Cases,
    n_items: int,
    ks: tuple[int, ...],
    order: NDArray[np.intp],
    batch: int,
    keep_seen: bool,
) -> tuple[NDArray[np.float64], dict[int, NDArray[np.bool_]]]:
    """Ranks ``[n]`` of the targets, and for each k the items ``[n_items]`` shown to anybody."""
    ranks = np.empty(len(cases))
    shown = {k: np.zeros(n_items, dtype=bool) for k in ks}
    for start in range(0, len(cases), batch):
        rows = order[start : start + batch]
        histories = cases.histories.select(rows)
        scores = ranker.scores(histories)
        if scores.shape != (len(rows), n_items):
            raise InputError(
                f"'{name}' gave scores {scores.shape} for {len(rows)} histories of a catalog of "
                f"{n_items} items; give [{len(rows)}, {n_items}]"
            )
        seen = None if keep_seen else histories
        ranks[rows] = expected_ranks(scores, cases.targets[rows], seen)
        top = top_items(scores, max(ks), seen)
        for k in ks:
            shown[k][top[:, :k]] = True
    return ranks, shown


def _bins(
    label: str, values: NDArray[np.int64], edges: Sequence[int]
) -> dict[str, NDArray[np.bool_]]:
    lows = [0, *(edge + 1 for edge in edges)]
    names = [f"{label} {low}-{edge}" for low, edge in zip(lows, edges, strict=False)]
    which = np.searchsorted(np.asarray(edges), values)
    return {name: which == i for i, name in enumerate([*names, f"{label} {lows[-1]}+"])}
