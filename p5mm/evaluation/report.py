"""Evaluate rankers on the same cases: full ranking, intervals, paired differences, slices."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from p5mm.metrics.intervals import Interval, intervals

PerUser = dict[str, NDArray[np.float64]]

MAIN, RETRIEVER = "p5mm", "retriever"


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
