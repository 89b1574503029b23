"""An evaluation as a page that a person reads: tables, curves, slices, hits and misses."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from p5mm import __version__
from p5mm.data.catalog import Catalog
from p5mm.data.dataset import open_dataset
from p5mm.errors import InputError
from p5mm.evaluation.comparison import Models, compare, headline
from p5mm.evaluation.hits_and_misses import RECOMMENDED, HitsAndMisses, hits_and_misses
from p5mm.evaluation.report import MAIN, RETRIEVER, Report
from p5mm.evaluation.sections import slice_tables, task_section
from p5mm.pages.chart import Chart, elapsed, log_chart
from p5mm.pages.page import called, render_page, spoken
from p5mm.ranking.fitted import Fitted
from p5mm.ranking.trained_model import TrainedModel

TITLE = "How well it finds what comes next"


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
        report: Of the evaluation; whatever models it has are shown.
        model: The model that was evaluated: its training log, and what it recommends in some cases.
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
        "tasks": [task_section(family, task) for family, task in report.tasks.items()],
        "reach": _reach(report, models, metric),
        "slices": slice_tables(report, metric),
        "coverage": report.coverage,
    }


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


def _blended(fitted: Fitted) -> list[tuple[str, str, float]]:
    """What was tried as a ranking, its weights where they are kept, and its validation NDCG@10."""
    names = {"similarities": "with similarities", "decoder": "with the decoder", "all": "with both"}
    weights = {"similarities": fitted.similarities, "all": fitted.weights}
    return [
        (names.get(tried, tried), _weighed(weights.get(tried, {})), value)
        for tried, value in fitted.tried.items()
    ]


def _weighed(weights: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {weight:g}" for name, weight in weights.items() if weight)


def _curves(model: TrainedModel) -> list[tuple[str, Chart, dict[str, str]]]:
    """Named curves of both phases of the training, those that there are, with their times."""
    log, tasks = model.training_log, model.fitted.task_log
    families = {name: f"Decoder: validation loss, {name}" for name in model.config.train.tasks}
    curves = [
        ("Retriever: NDCG@10 on validation", log, "ndcg@10"),
        ("Retriever: training loss", log, "loss"),
        ("Decoder: training loss", tasks, "loss"),
        *((name, tasks, family) for family, name in families.items()),
    ]
    drawn = [(name, log_chart(of, column), elapsed(of)) for name, of, column in curves]
    return [(name, chart, times) for name, chart, times in drawn if chart is not None]


def _shown(stories: HitsAndMisses | None) -> list[str]:
    """Ids of the items in all stories."""
    shoppers = [*stories.hits, *stories.misses, *stories.lost] if stories else []
    ids = [[*s.history, *s.recommended, s.truth] for s in shoppers]
    return [item for items in ids for item in items if item is not None]


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
