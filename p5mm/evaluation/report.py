"""The report of an evaluation: means with intervals, paired differences, slices, a table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from p5mm.errors import counted
from p5mm.metrics.intervals import Interval, intervals
from p5mm.pages.table import interval_table, terminal_width
from p5mm.pages.text import clipped

PerUser = dict[str, NDArray[np.float64]]
Means = Mapping[str, Mapping[str, Interval]]

MAIN, RETRIEVER = "p5mm", "retriever"
SIMILARITIES = "similarities"  # the retriever and two linear similarities: what T5 must beat


@dataclass(frozen=True)
class TaskReport:
    """What models reach in one task, on the same cases.

    Attributes:
        protocol: How it was measured; plain JSON values.
        metrics: Names of the metrics, in the order of their importance.
        models: Model, then metric, then the mean over users with its interval.
        differences: ``p5mm - other``, then metric: paired over users.
        lower_is_better: Whether the metrics are errors.
    """

    protocol: dict[str, Any]
    metrics: Sequence[str]
    models: Means
    differences: Means
    lower_is_better: bool = False

    def to_json(self) -> dict[str, Any]:
        """Plain values: ``protocol``, ``models`` and ``differences``."""
        return {
            "protocol": self.protocol,
            "models": _plain(self.models),
            "differences": _plain(self.differences),
        }

    def table(self, width: int) -> str:
        """A text table of models and differences; no line is wider than ``width``."""
        return interval_table({**self.models, **self.differences}, self.metrics, width)


@dataclass(frozen=True)
class Report:
    """What an evaluation measured, with every user's metrics kept for paired comparisons.

    Attributes:
        protocol: How it was measured; plain JSON values.
        per_user: Model, then metric, then ``[n]`` float64; the order is that of the cases.
        coverage: Model, then ``coverage@k``: the share of the catalog in anybody's first k.
        retrieval: ``recall@N`` of the retriever: what a reranker of its best N could reach.
        slices: Slice label to ``[n]`` bool, True where a case belongs.
        tasks: The other tasks that the model was trained on, by the family of their prompts.
    """

    protocol: dict[str, Any]
    per_user: dict[str, PerUser]
    coverage: dict[str, dict[str, float]]
    retrieval: dict[str, float]
    slices: dict[str, NDArray[np.bool_]]
    tasks: Mapping[str, TaskReport] = field(default_factory=dict)

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
            "tasks": {family: task.to_json() for family, task in self.tasks.items()},
        }

    def table(self, width: int | None = None) -> str:
        """A text table: a line a model, and one for each difference; then those of the tasks.

        Args:
            width: No line is wider: as many metrics as fit are shown, Recall and NDCG at 10 first.
                That of the terminal where None, 80 where that is unknown.
        """
        width = width or terminal_width()
        ks = sorted(self.protocol["ks"], key=lambda k: k != 10)
        metrics = [f"{name}@{k}" for k in ks for name in ("recall", "ndcg")]
        lines = [interval_table({**self.models, **self.differences}, metrics, width)]
        lines += [f"retriever {name} {value:.4f}" for name, value in self.retrieval.items()]
        lines.append(clipped(self._asked(), width))
        for family, task in self.tasks.items():
            among, users = task.protocol.get("ranking"), counted(task.protocol["users"], "user")
            heading = ", ".join(filter(None, [family, among, users]))
            lines += ["", clipped(heading, width), task.table(width)]
        return "\n".join(lines)

    def _asked(self) -> str:
        """What was ranked among what, in a line."""
        about = self.protocol
        seen = "seen items filtered" if about["seen filtered"] else "seen items compete"
        return f"{about['split']}, {about['users']:,} cases; {seen}; {about['held out']}"


def _all_intervals(per_user: Mapping[str, PerUser], seed: int) -> dict[str, dict[str, Interval]]:
    """One resampling for all models and metrics, so that their intervals share the draws."""
    names = [(model, metric) for model, of in per_user.items() for metric in of]
    if not names:
        return {}
    columns = np.stack([per_user[model][metric] for model, metric in names], axis=1)
    means: dict[str, dict[str, Interval]] = {model: {} for model in per_user}
    for (model, metric), mean in zip(names, intervals(columns, seed), strict=True):
        means[model][metric] = mean
    return means


def _plain(means: Means) -> dict[str, dict[str, dict[str, float]]]:
    """Model to metric to ``{"value", "low", "high"}``."""
    return {name: {m: mean.to_json() for m, mean in of.items()} for name, of in means.items()}
