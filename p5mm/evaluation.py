"""Evaluate rankers on the same cases: full ranking, intervals, paired differences, slices."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from p5mm.baselines.base import Baseline, Ranker, baselines, fit_key, load_baseline, save_baseline
from p5mm.bootstrap import DRAWS, Interval, intervals
from p5mm.errors import InputError
from p5mm.histories import Histories
from p5mm.metrics import KS, expected_ranks, metrics_per_user, top_items
from p5mm.split import Cases, LeaveOneOut

PerUser = dict[str, NDArray[np.float64]]

BASELINES = ("sasrec", "bpr", "item-knn", "popularity")
MAIN, RETRIEVER = "p5mm", "retriever"
LENGTH_EDGES = (5, 10, 20, 50)
TAIL_EDGES = (5, 20, 100)


@dataclass(frozen=True)
class Report:
    """What an evaluation found, with every user's metrics kept for paired comparisons.

    Attributes:
        protocol: How it was measured; plain JSON values.
        per_user: Model, then metric, then ``[n]`` float64; the order is that of the cases.
        coverage: Model, then ``coverage@k``: the share of the catalog in anybody's first k.
        retrieval: ``recall@N`` of the retriever: no reranker of N candidates can pass it.
        slices: Slice label to ``[n]`` bool, True where a case belongs.
    """

    protocol: dict[str, Any]
    per_user: dict[str, PerUser]
    coverage: dict[str, dict[str, float]]
    retrieval: dict[str, float]
    slices: dict[str, NDArray[np.bool_]]

    @property
    def models(self) -> dict[str, dict[str, Interval]]:
        """Model, then metric, then the mean over users with its interval."""
        return _all_intervals(self.per_user, self.protocol["seed"])

    @property
    def differences(self) -> dict[str, dict[str, Interval]]:
        """``p5mm - other``, then metric: paired over users; empty without a model ``p5mm``."""
        if MAIN not in self.per_user:
            return {}
        main = self.per_user[MAIN]
        minus = {
            f"{MAIN} - {name}": {metric: main[metric] - values[metric] for metric in values}
            for name, values in self.per_user.items()
            if name != MAIN
        }
        return _all_intervals(minus, self.protocol["seed"])

    def slice_means(self, metric: str) -> dict[str, dict[str, float]]:
        """Slice, then model: the mean of one metric; ``cases`` counts the slice."""
        return {
            label: {"cases": float(mask.sum())}
            | {name: float(values[metric][mask].mean()) for name, values in self.per_user.items()}
            for label, mask in self.slices.items()
            if mask.any()
        }

    def to_json(self) -> dict[str, Any]:
        """Plain values in the shape that other programs rely on (DESIGN section 8)."""
        return {
            "protocol": self.protocol,
            "models": _plain(self.models),
            "retrieval": self.retrieval,
            "differences": _plain(self.differences),
            "coverage": self.coverage,
            "slices": {"ndcg@10": self.slice_means("ndcg@10")} if 10 in self.protocol["ks"] else {},
        }

    def table(self) -> str:
        """A text table: a line a model, means with intervals for the metrics that papers print."""
        metrics = [f"{name}@{k}" for k in self.protocol["ks"] for name in ("recall", "ndcg")]
        rows = [["model", *metrics]]
        rows += [[name, *(_short(of[m]) for m in metrics)] for name, of in self.models.items()]
        rows += [[name, *(_short(of[m]) for m in metrics)] for name, of in self.differences.items()]
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        lines = ["  ".join(v.ljust(w) for v, w in zip(row, widths, strict=True)) for row in rows]
        lines.insert(1, "  ".join("-" * width for width in widths))
        found = "  ".join(f"retriever {name} {value:.4f}" for name, value in self.retrieval.items())
        return "\n".join(line.rstrip() for line in [*lines, found] if line)


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
) -> Report:
    """Rank every target among the whole catalog with each ranker.

    Args:
        rankers: Name to ranker; ``p5mm`` is compared with the others, ``retriever`` gives recall@N.
        cases: Histories and targets; the histories are the seen items that are filtered.
        n_items: Catalog size.
        ks: Cut-offs.
        seed: Seed of the bootstrap.
        batch: Cases scored at once; never more than ``[batch, n_items]`` is held.
        split: Name of the part, for the protocol.
        candidates: N of the retriever's recall@N.

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
        ranks, shown = _rank_all(name, ranker, cases, n_items, tuple(ks), order, batch)
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
        "seen filtered": True,
        "ties": "expected rank",
        "ks": list(ks),
        "intervals": f"95 % percentile bootstrap over users, {DRAWS} draws",
        "seed": seed,
    }
    return Report(protocol, per_user, coverage, retrieval, slices(cases, n_items))


def fit_baselines(
    split: LeaveOneOut,
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
        key = fit_key(baseline, split, n_items)
        path = None if cache_dir is None else cache_dir / f"{name}.safetensors"
        if path is None or not load_baseline(baseline, path, key):
            baseline.fit(split, n_items)
            if path is not None:
                save_baseline(baseline, path, key)
        fitted[name] = baseline
    return fitted


def slices(cases: Cases, n_items: int) -> dict[str, NDArray[np.bool_]]:
    """Cases by length of the history and by how often the target was taken by others.

    Popularity counts the items of all histories, that is, what is known before the targets.
    """
    taken = np.bincount(cases.histories.items, minlength=n_items)[cases.targets]
    by_length = _bins("history", cases.histories.lengths, LENGTH_EDGES)
    return by_length | _bins("target taken", taken, TAIL_EDGES)


def permuted_items(histories: Histories, n_items: int, seed: int = 0) -> Histories:
    """The same histories under other item numbers: no metric may care."""
    renamed = np.random.default_rng(seed).permutation(n_items)
    return Histories(renamed[histories.items], histories.offsets, histories.ratings)


def _rank_all(
    name: str,
    ranker: Ranker,
    cases: Cases,
    n_items: int,
    ks: tuple[int, ...],
    order: NDArray[np.intp],
    batch: int,
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
        ranks[rows] = expected_ranks(scores, cases.targets[rows], histories)
        top = top_items(scores, max(ks), histories)
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


def _all_intervals(per_user: Mapping[str, PerUser], seed: int) -> dict[str, dict[str, Interval]]:
    """One resampling for all models and metrics, so that their intervals share the draws."""
    names = [(model, metric) for model, of in per_user.items() for metric in of]
    if not names:
        return {}
    columns = np.stack([per_user[model][metric] for model, metric in names], axis=1)
    found: dict[str, dict[str, Interval]] = {model: {} for model in per_user}
    for (model, metric), one in zip(names, intervals(columns, seed), strict=True):
        found[model][metric] = one
    return found


def _plain(of: Mapping[str, Mapping[str, Interval]]) -> dict[str, dict[str, dict[str, float]]]:
    return {name: {metric: one.to_json() for metric, one in m.items()} for name, m in of.items()}


def _short(one: Interval) -> str:
    return f"{one.value:.4f} [{one.low:.4f}, {one.high:.4f}]"
