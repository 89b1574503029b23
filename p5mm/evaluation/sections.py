"""Parts of the page of an evaluation: a task beside the ranking, and slices of the cases."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from p5mm.evaluation.comparison import Comparison, compare
from p5mm.evaluation.report import Report, TaskReport
from p5mm.metrics.intervals import Interval, intervals

SLICED = {
    "history": ("By length of the history", "Items that a user had taken before the hidden one."),
    "target taken": (
        "By popularity of the hidden item",
        "How often anybody had taken the hidden item before: the left end is the long tail.",
    ),
}

TASKS = {
    "direct": (
        "Which of a hundred would it pick?",
        "P5's direct task: the hidden item stands among others that the user never took, drawn "
        "once at random and stored, the same for every model. HR@k is the share of users whose "
        "hidden item is among the first k. Few candidates make high numbers: compare them with "
        "each other, not with those above.",
    ),
    "rating": (
        "How would the user rate it?",
        "What the model expects the hidden item to be rated, against what it was rated. RMSE is "
        "the root of the mean square error, MAE the mean absolute error, in stars: lower is "
        "better. Bold and green: the lowest.",
    ),
}


@dataclass(frozen=True)
class SliceTable:
    """One metric by slices.

    Attributes:
        title: What the cases are sliced by.
        note: What that means.
        cases: Slice to number of cases.
        models: Model, then slice, then the mean over the slice's users with its interval.
        best: Slice to the highest mean.
    """

    title: str
    note: str
    cases: dict[str, int]
    models: dict[str, dict[str, Interval]]
    best: dict[str, float]


@dataclass(frozen=True)
class TaskSection:
    """What the page says of a task beside the ranking of the catalog.

    Attributes:
        family: Of the task's prompts.
        title: The question that it answers.
        note: What was asked and how it is measured.
        report: What was measured.
        best: Metric to the best mean.
        metric: By which models are compared.
        bar: The metric that is drawn; None draws none.
        top: The highest bound of the metric.
        comparisons: p5mm against each other model.
    """

    family: str
    title: str
    note: str
    report: TaskReport
    best: dict[str, float]
    metric: str
    bar: str | None
    top: float
    comparisons: list[Comparison]


def task_section(family: str, task: TaskReport) -> TaskSection:
    """A task as the page shows it."""
    title, note = TASKS.get(family, (f"The task {family}", ""))
    best = min if task.lower_is_better else max
    bar = None if task.lower_is_better else "ndcg@10"
    metric = bar or task.metrics[0]
    return TaskSection(
        family=family,
        title=title,
        note=note,
        report=task,
        best={m: best(means[m].value for means in task.models.values()) for m in task.metrics},
        metric=metric,
        bar=bar,
        top=max(means[metric].high for means in task.models.values()) or 1.0,
        comparisons=compare(task.models, task.differences, metric, task.lower_is_better),
    )


def slice_tables(report: Report, metric: str) -> list[SliceTable]:
    """A table for each way of slicing; slices without cases are left out."""
    groups: dict[str, list[str]] = {}
    for label, mask in report.slices.items():
        if mask.any():
            groups.setdefault(label.rpartition(" ")[0], []).append(label)
    return [_slice_table(report, metric, group, labels) for group, labels in groups.items()]


def _slice_table(report: Report, metric: str, group: str, labels: Sequence[str]) -> SliceTable:
    title, note = SLICED.get(group, (f"By {group}", ""))
    names = list(report.per_user)
    values = np.stack([report.per_user[name][metric] for name in names], axis=1)
    cases: dict[str, int] = {}
    models: dict[str, dict[str, Interval]] = {name: {} for name in names}
    best: dict[str, float] = {}
    for label in labels:
        mask, short = report.slices[label], label.rpartition(" ")[2].replace("-", "–")
        means = intervals(values[mask], report.protocol["seed"])
        cases[short] = int(mask.sum())
        best[short] = max(mean.value for mean in means)
        for name, mean in zip(names, means, strict=True):
            models[name][short] = mean
    return SliceTable(title, note, cases, models, best)
