"""The report of a trained model: linted, ranked beside its retriever and the baselines."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from p5mm.data.split import Part
from p5mm.errors import InputError, counted
from p5mm.evaluation.ablation import ablated_rankers
from p5mm.evaluation.evaluate import BASELINES, evaluate, fit_baselines
from p5mm.evaluation.linter.model import leakage_protocol, model_findings, ranker_findings
from p5mm.evaluation.report import MAIN, RETRIEVER, SIMILARITIES, Report
from p5mm.evaluation.tasks import task_reports
from p5mm.metrics.ranker import Ranker
from p5mm.ranking.trained_model import TrainedModel

log = logging.getLogger(__name__)


def evaluate_model(
    model: TrainedModel,
    split: Part = "test",
    cache: Path | None = None,
    baselines: Sequence[str] = BASELINES,
    ablate: bool = False,
    keep_seen: bool = False,
) -> Report:
    """The report of a model: the whole catalog ranked, and the tasks that it was trained on.

    Deleted items count, interactions that came after the training do not. Warnings of the leakage
    linter are logged.

    Args:
        model: Trained.
        split: Which held-out items.
        cache: Folder of fitted baselines and of stored candidates; None keeps none.
        baselines: Registered names.
        ablate: Also rank with each modality absent, and shuffled.
        keep_seen: Rank among all items: what the history holds competes, and may be a candidate.

    Raises:
        LeakageError: The model could see what it is asked for.
        InputError: Nothing is held out.
    """
    if model.as_trained is not model:
        log.info("evaluated as it was trained: %s", _since(model))
        model = model.as_trained
    cases = model.split.cases(split)
    if not len(cases):
        raise InputError(
            "nobody in the model's log has three items, so none is held out that could be asked "
            "for; train with a log, or with a longer one"
        )
    findings = model_findings(model)
    scorer = model.scorer
    scorers = {MAIN: scorer, RETRIEVER: scorer.alone()}
    if not model.has_likeness:  # else there is no decoder that could be left out
        similar = scorer.weighing(model.fitted.similarities)
        scorers = {MAIN: scorer, SIMILARITIES: similar, RETRIEVER: scorers[RETRIEVER]}
    rankers: dict[str, Ranker] = {
        name: one.among(model.rows, keep_seen) for name, one in scorers.items()
    }
    seed = model.config.train.seed
    rankers |= fit_baselines(model.split, len(model.rows), cache, baselines, seed)
    findings += ranker_findings(rankers, cases, seed)
    for finding in findings:
        log.warning("%s", finding)
    tasks = task_reports(model, split, rankers, cache)
    if ablate:
        rankers |= ablated_rankers(model, seen=keep_seen)
    candidates = model.config.retrieval.candidates
    report = evaluate(
        rankers, cases, len(model.rows), seed=seed, split=split, candidates=candidates,
        keep_seen=keep_seen,
    )  # fmt: skip
    protocol = report.protocol | model.split.told | leakage_protocol(model, findings)
    return replace(report, protocol=protocol, tasks=tasks)


def _since(model: TrainedModel) -> str:
    """What has become of a model since, and what its evaluation makes of that."""
    deleted, later = len(model.deleted), len(model.later)
    told = {
        f"{counted(deleted, 'deleted item')} {'counts' if deleted == 1 else 'count'}": deleted,
        f"{counted(later, 'interaction')} that came later "
        f"{'does' if later == 1 else 'do'} not": later,
    }
    return ", ".join(line for line, count in told.items() if count)
