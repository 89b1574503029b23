"""An evaluation as a page that a person reads: tables, curves, slices, hits and misses."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from p5mm import __version__
from p5mm.data.catalog import Catalog
from p5mm.data.dataset import open_dataset
from p5mm.errors import InputError
from p5mm.evaluation.hits_and_misses import RECOMMENDED, HitsAndMisses, hits_and_misses
from p5mm.evaluation.report import MAIN, RETRIEVER, Report
from p5mm.metrics.intervals import Interval, intervals
from p5mm.pages.chart import Chart, elapsed, log_chart
from p5mm.pages.page import called, render_page, spoken
from p5mm.ranking.fitted import Fitted
from p5mm.ranking.trained_model import TrainedModel

TITLE = "How well it finds what comes next"
BETTER, ALIKE, WORSE = "better", "no difference shown", "worse"
SLICED = {
    "history": ("By length of the history", "Items that a user had taken before the hidden one."),
    "target taken": (
        "By popularity of the hidden item",
        "How often anybody had taken the hidden item before: the left end is the long tail.",
    ),
}
Models = Mapping[str, Mapping[str, Interval]]


@dataclass(frozen=True)
class Comparison:
    """The model against another one, paired over users.

    Attributes:
        name: The other model.
        difference: Model minus other.
        relative: Difference over the other's mean; None where that is 0.
        verdict: What the interval shows: better, worse, or no difference shown.
    """

    name: str
    difference: Interval
    relative: float | None
    verdict: str


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


def pictured_catalog(model: TrainedModel, root: str | Path | None = None) -> Catalog:
    """The model's catalog, with pictures where they can be had.

    A saved model knows no picture files: the data that it learned from is opened again.

    Args:
        model: Its own catalog is given back where the data cannot be opened.
        root: Folder of the data; that of the model's configuration where None.

    Raises:
        InputError: ``root`` is given and holds no data that can be read.
    """
    data = replace(model.config.data, k_core=0, shuffle_ties=None)
    if root is not None:
        return open_dataset(replace(data, root=str(root))).catalog
    if model.catalog.pictures is not None or not data.root or not Path(data.root).is_dir():
        return model.catalog
    try:
        return open_dataset(data).catalog
    except InputError:
        return model.catalog


def evaluation_page(report: Report, model: TrainedModel, catalog: Catalog | None = None) -> str:
    """One HTML file that is whole in itself.

    Args:
        report: What the evaluation found; whatever models it has are shown.
        model: The model that was evaluated: its training log, and its choices for some cases.
        catalog: Pictures of the items, as from `pictured_catalog`; the model's own where None.

    Raises:
        InputError: The report is of another log than the model's.
    """
    catalog = catalog or model.catalog
    stories = hits_and_misses(report, model)
    shown = _shown(stories)
    pictures = {
        item: picture
        for item in shown
        if item in catalog.rows and (picture := catalog.picture(item)) is not None
    }
    return render_page(
        "evaluation.html.j2",
        title=TITLE,
        shown=shown,
        titles=dict(zip(model.catalog.item_ids, model.catalog.titles, strict=True)),
        pictures=pictures,
        credits=[f"Made by p5mm {__version__}."],
        stories=stories,
        recommended=RECOMMENDED,
        pictures_note=_pictures_note(bool(pictures), catalog is model.catalog),
        blended=_blended(model.fitted),
        log_charts=_curves(model),
        **_numbers(report),
    )


def compare(models: Models, differences: Models, metric: str) -> list[Comparison]:
    """The model ``p5mm`` against each other one; nothing without it."""
    rows = []
    for name, values in models.items():
        difference = differences.get(f"{MAIN} - {name}", {}).get(metric)
        if difference is not None:
            other = values[metric].value
            relative = difference.value / other if other else None
            rows.append(Comparison(name, difference, relative, verdict(difference)))
    return rows


def verdict(difference: Interval) -> str:
    """What an interval of a difference shows.

    Example:
        >>> verdict(Interval(0.01, -0.01, 0.03))
        'no difference shown'
    """
    if difference.low > 0:
        return BETTER
    return WORSE if difference.high < 0 else ALIKE


def slice_tables(report: Report, metric: str) -> list[SliceTable]:
    """A table for each way of slicing; slices without cases are left out."""
    groups: dict[str, list[str]] = {}
    for label, mask in report.slices.items():
        if mask.any():
            groups.setdefault(label.rpartition(" ")[0], []).append(label)
    return [_slice_table(report, metric, group, labels) for group, labels in groups.items()]


def headline(models: Models, comparisons: Sequence[Comparison], metric: str) -> str:
    """One sentence on the model, one on what it was compared with; its own parts are left out."""
    if MAIN not in models:
        return f"{_listed([called(name) for name in models])}, on the same cases."
    one = models[MAIN][metric]
    first = (
        f"{MAIN} reaches {spoken(metric)} {one.value:.4f} "
        f"(95 % interval {one.low:.4f} to {one.high:.4f})."
    )
    said = {BETTER: "better than", ALIKE: "not shown to differ from", WORSE: "worse than"}
    parts = []
    for found, words in said.items():
        names = [called(c.name) for c in comparisons if c.verdict == found and not _own(c.name)]
        if names:
            parts.append(f"{words} {_listed(names)}")
    return f"{first} It is {'; '.join(parts)}." if parts else first


def _numbers(report: Report) -> dict[str, Any]:
    """What the page says in numbers, as the template names it."""
    models = report.models
    ks = report.protocol["ks"]
    k = 10 if 10 in ks else ks[-1]
    metric = f"ndcg@{k}"
    columns = [*(f"recall@{k}" for k in ks), metric, "mrr"]
    comparisons = compare(models, report.differences, metric)
    return {
        "lead": headline(models, comparisons, metric),
        "facts": _facts(report, models, (metric, f"recall@{k}")),
        "protocol": report.protocol,
        "models": models,
        "metric": metric,
        "metrics": columns,
        "best": {c: max(of[c].value for of in models.values()) for c in columns},
        "top": max(of[metric].high for of in models.values()) or 1.0,
        "comparisons": comparisons,
        "reach": _reach(report, models, metric),
        "slices": slice_tables(report, metric),
        "coverage": report.coverage,
    }


def _own(name: str) -> bool:
    """Whether a model is a part of p5mm, or p5mm with something taken away."""
    return name == RETRIEVER or name.startswith(f"{MAIN}, ")


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def _facts(report: Report, models: Models, metrics: Sequence[str]) -> list[tuple[str, str]]:
    facts = [
        (f"{report.protocol['users']:,}", "cases, one a user"),
        (f"{report.protocol['items']:,}", "items to rank"),
    ]
    if MAIN in models:
        facts += [(f"{models[MAIN][name].value:.4f}", spoken(name)) for name in metrics]
    return facts


def _reach(report: Report, models: Models, metric: str) -> list[tuple[str, float]]:
    """How much the retriever finds, and what becomes of it; nothing without a retriever."""
    rows = [
        (f"retriever, {spoken(name)}: the most that reranking could reach", value)
        for name, value in report.retrieval.items()
    ]
    both = [name for name in (RETRIEVER, MAIN) if name in models]
    rows += [(f"{called(name)}, {spoken(metric)}", models[name][metric].value) for name in both]
    return rows if report.retrieval else []


def _slice_table(report: Report, metric: str, group: str, labels: Sequence[str]) -> SliceTable:
    title, note = SLICED.get(group, (f"By {group}", ""))
    names = list(report.per_user)
    values = np.stack([report.per_user[name][metric] for name in names], axis=1)
    cases: dict[str, int] = {}
    models: dict[str, dict[str, Interval]] = {name: {} for name in names}
    best: dict[str, float] = {}
    for label in labels:
        mask, short = report.slices[label], label.rpartition(" ")[2].replace("-", "–")
        found = intervals(values[mask], report.protocol["seed"])
        cases[short] = int(mask.sum())
        best[short] = max(one.value for one in found)
        for name, one in zip(names, found, strict=True):
            models[name][short] = one
    return SliceTable(title, note, cases, models, best)


def _blended(fitted: Fitted) -> list[tuple[str, str, float]]:
    """What was tried as a ranking, the weight of its part, and its validation NDCG@10."""
    rows = []
    for name, value in fitted.tried.items():
        weight = fitted.weights.get(name.removeprefix("retriever + "))
        told = "" if weight is None else f"{weight:g}" if weight else "left out"
        rows.append(("all by their weights" if name == "all" else name, told, value))
    return rows


def _curves(model: TrainedModel) -> list[tuple[str, Chart, dict[str, str]]]:
    """Named curves of both phases of the training, those that there are, with their times."""
    log, tasks = model.training_log, model.fitted.task_log
    families = {name: f"Decoder: validation loss, {name}" for name in model.config.train.tasks}
    curves = [
        ("Retriever: NDCG@10 on validation", log, "ndcg@10"),
        ("Retriever: training loss", log, "loss"),
        ("Decoder: training loss", tasks, "loss"),
        *((told, tasks, family) for family, told in families.items()),
    ]
    drawn = [(name, log_chart(of, column), elapsed(of)) for name, of, column in curves]
    return [(name, chart, times) for name, chart, times in drawn if chart is not None]


def _shown(stories: HitsAndMisses | None) -> list[str]:
    """Ids of the items in all stories."""
    told = [*stories.hits, *stories.misses, *stories.lost] if stories else []
    ids = [[*one.history, *one.recommended, one.truth] for one in told]
    return [item for some in ids for item in some if item is not None]


def _pictures_note(any_picture: bool, own_catalog: bool) -> str:
    if any_picture:
        return ""
    if own_catalog:
        return (
            "Titles stand for pictures: a saved model keeps no picture files, and the data that "
            "it learned from was not at hand. p5mm evaluate MODEL --html FILE --data FOLDER shows "
            "them, if there are any."
        )
    return "Titles stand for pictures: the data has no pictures of these items."
