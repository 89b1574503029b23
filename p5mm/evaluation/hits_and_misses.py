"""Some cases of an evaluation as stories: what was taken, what was recommended, what came next."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from p5mm.data.split import Cases
from p5mm.errors import InputError
from p5mm.evaluation.evaluate import BASELINES
from p5mm.evaluation.report import MAIN, Report
from p5mm.metrics.ranks import top_items
from p5mm.pages.stories import Shopper
from p5mm.ranking.trained_model import TrainedModel

HISTORY, RECOMMENDED = 8, 6
EACH = 4  # hits, misses, and misses that the rival hits


@dataclass(frozen=True)
class HitsAndMisses:
    """Stories from both sides, and how many cases each side has.

    Attributes:
        hits: Cases with the true next item among the first ``RECOMMENDED``.
        misses: Cases without.
        hit_count: All hits of the evaluation.
        miss_count: All misses of the evaluation.
        rival: The first of the baselines that was evaluated, SASRec where it is; None without.
        lost: Misses of the model that the rival hits, none of them in ``misses``.
        lost_count: All misses of the model that the rival hits.
        won_count: All misses of the rival that the model hits.
    """

    hits: list[Shopper]
    misses: list[Shopper]
    hit_count: int
    miss_count: int
    rival: str | None
    lost: list[Shopper]
    lost_count: int
    won_count: int


def hits_and_misses(report: Report, model: TrainedModel) -> HitsAndMisses | None:
    """Stories of cases evenly spread over the hits and over the misses; the same each time.

    Args:
        report: An evaluation of the model; without a model ``p5mm`` there are no stories.
        model: The model that was evaluated.

    Raises:
        InputError: The report is of another log than the model's.
    """
    if MAIN not in report.per_user:
        return None
    ranks, model = 1.0 / report.per_user[MAIN]["mrr"], model.as_trained
    cases = model.split.cases(report.protocol["split"])
    if len(ranks) != len(cases):
        raise InputError(
            f"the report has {len(ranks)} cases and the model's log {len(cases)}; give the "
            "report of this model's evaluation"
        )
    keep_seen = not report.protocol["seen filtered"]
    is_hit = _hit(ranks)
    rival = next((name for name in BASELINES if name in report.per_user), None)
    theirs = _hit(1.0 / report.per_user[rival]["mrr"]) if rival else is_hit
    hits, misses = np.flatnonzero(is_hit), np.flatnonzero(~is_hit)
    lost, chosen = np.flatnonzero(~is_hit & theirs), evenly(misses, EACH)
    return HitsAndMisses(
        _stories(model, cases, evenly(hits, EACH), ranks, keep_seen),
        _stories(model, cases, chosen, ranks, keep_seen),
        len(hits),
        len(misses),
        rival,
        _stories(model, cases, evenly(np.setdiff1d(lost, chosen), EACH), ranks, keep_seen),
        len(lost),
        int((is_hit & ~theirs).sum()),
    )


def _hit(ranks: NDArray[np.float64]) -> NDArray[np.bool_]:
    return ranks < RECOMMENDED + 0.25  # ranks are whole or half


def evenly(rows: NDArray[np.int64], n: int) -> NDArray[np.int64]:
    """The middles of ``n`` equal parts of some rows; all rows where there are no more than n.

    Example:
        >>> evenly(np.arange(100), 4).tolist()
        [12, 37, 62, 87]
    """
    if len(rows) <= n:
        return rows
    return rows[((2 * np.arange(n) + 1) * len(rows)) // (2 * n)]


def _stories(
    model: TrainedModel,
    cases: Cases,
    which: NDArray[np.int64],
    ranks: NDArray[np.float64],
    keep_seen: bool,
) -> list[Shopper]:
    """The cases ``which``; only their rankings are made anew."""
    if not len(which):
        return []
    items = model.fitted.items
    users, _ = model.core.histories(list(items))
    some = cases.take(which)
    scores = model.scorer.among(model.rows, keep_seen).scores(some.histories)
    best = top_items(scores, RECOMMENDED, None if keep_seen else some.histories)
    return [
        Shopper(
            users[some.users[place]],
            [items[item] for item in some.histories[place][-HISTORY:]],
            [items[item] for item in best[place] if keep_seen or item not in some.histories[place]],
            items[some.targets[place]],
            round(float(ranks[row]), 1),
        )
        for place, row in enumerate(which.tolist())
    ]
