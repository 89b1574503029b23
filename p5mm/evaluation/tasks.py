"""The tasks of a trained model beside the ranking of the catalog: pick from a few, rate."""

import logging
from collections.abc import Callable, Mapping
from pathlib import Path

from p5mm.baselines.base import fit_once
from p5mm.baselines.biased_mf import BiasedMF
from p5mm.baselines.rating_means import GlobalMean, ItemMean, RecentBiases
from p5mm.data.split import Part
from p5mm.errors import InputError
from p5mm.evaluation.direct import Asked, Chooser, Picked, direct_report, fit_weight
from p5mm.evaluation.ratings import AskedRating
from p5mm.evaluation.report import MAIN, TaskReport
from p5mm.evaluation.stored_candidates import most_candidates, stored_candidates
from p5mm.metrics.ranker import Ranker
from p5mm.metrics.rating_errors import RatingCases, RatingModel, rating_report
from p5mm.model.questions import Question
from p5mm.ranking.trained_model import TrainedModel

HELD_OUT = f"{MAIN}, held-out"  # asked with the prompts that it was not trained with
DIRECT_METRICS = ("hit@1", "ndcg@10", "hit@10", "hit@5", "ndcg@5")
RATING_METRICS = ("rmse", "mae")

log = logging.getLogger(__name__)


def task_reports(
    model: TrainedModel, part: Part, rankers: Mapping[str, Ranker], cache: Path | None = None
) -> dict[str, TaskReport]:
    """A report for each family of prompts that the model was trained on, but for sequential.

    A family whose prompts or ratings are missing is left out with a warning.

    Args:
        model: Trained.
        part: Which held-out items.
        rankers: The retriever and the baselines, for the direct task.
        cache: Folder of stored candidates and of fitted baselines; None keeps none.
    """
    measure: dict[str, Callable[[], TaskReport]] = {
        "direct": lambda: direct_task(model, part, rankers, cache)
    }
    if model.network.rating_prior is not None:
        measure["rating"] = lambda: rating_task(model, part, cache)
    reports = {}
    for family, report in measure.items():
        if not model.fitted.task_log or model.config.train.tasks.get(family, 0) <= 0:
            continue
        log.info("evaluate the task '%s'", family)
        try:
            reports[family] = report()
        except InputError as error:
            log.warning("the report leaves out the task '%s': %s", family, error)
    return reports


def direct_task(
    model: TrainedModel, part: Part, rankers: Mapping[str, Ranker], cache: Path | None = None
) -> TaskReport:
    """Which of the stored candidates did the user take? HR (``hit@k``) and NDCG with intervals.

    Raises:
        InputError: A prompt is missing, the catalog is too small, or the stored candidates are of
            another split.
    """
    seed, count = model.config.train.seed, most_candidates(model)
    stored = {
        which: stored_candidates(
            model, which, cache and cache / f"candidates-{which}.parquet", seed, count
        )
        for which in dict.fromkeys(("valid", part))
    }
    weight = fit_weight(model, model.questions("direct"), stored["valid"])
    choosers: dict[str, Chooser] = {
        name: Asked.of(model, prompts, weight)
        for name, prompts in _prompts(model, "direct").items()
    }
    choosers |= {name: Picked(ranker) for name, ranker in rankers.items() if name != MAIN}
    report = direct_report(choosers, stored[part], part, seed)
    chosen = {"decoder's weight": weight, "decoder's weight by": "NDCG@10 on validation"}
    protocol = report.protocol | model.split.told | chosen
    return TaskReport(protocol, DIRECT_METRICS, report.models, report.differences)


def rating_task(model: TrainedModel, part: Part, cache: Path | None = None) -> TaskReport:
    """How will the user rate the held-out item? RMSE and MAE with intervals.

    Raises:
        InputError: A prompt is missing, or no held-out item was rated.
    """
    cases = RatingCases.of(model.split, part)
    models: dict[str, RatingModel] = {
        name: AskedRating.of(model, prompts) for name, prompts in _prompts(model, "rating").items()
    }
    models |= _rating_baselines(model, cache)
    report = rating_report(models, cases, part, model.config.train.seed)
    protocol = report.protocol | model.split.told
    return TaskReport(protocol, RATING_METRICS, report.models, report.differences(MAIN), True)


def _rating_baselines(model: TrainedModel, cache: Path | None) -> dict[str, RatingModel]:
    """Fitted; what takes long is kept in the cache."""
    split, items = model.split, len(model.fitted.items)
    every, by_item = GlobalMean(), ItemMean()
    recent = RecentBiases(model.config.model.max_history)
    factors = BiasedMF(seed=model.config.train.seed)
    every.fit(split, items)
    by_item.fit(split, items)
    recent.fit(split, items)
    fit_once(factors, split, items, cache and cache / "biased-mf.safetensors")
    return {
        "global mean": every,
        "item mean": by_item,
        "recent biases": recent,
        "biased MF": factors,
    }


def _prompts(model: TrainedModel, family: str) -> dict[str, list[Question]]:
    """The seen prompts under the model's own name, and those that were held out."""
    prompts = model.questions(family)
    return {
        MAIN: [prompt for prompt in prompts if not prompt.held_out],
        HELD_OUT: [prompt for prompt in prompts if prompt.held_out],
    }
