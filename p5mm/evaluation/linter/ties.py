"""Whether a ranker's metrics hang on the order of equal scores."""

import numpy as np
from numpy.typing import NDArray

from p5mm.data.histories import Histories
from p5mm.data.split import Cases
from p5mm.evaluation.linter.finding import Finding
from p5mm.metrics.intervals import intervals
from p5mm.metrics.ranker import Ranker
from p5mm.metrics.ranks import expected_ranks, metrics_per_user

CASES, BATCH = 500, 250
METRICS = ("recall@10", "ndcg@10")


def tie_findings(
    name: str,
    ranker: Ranker,
    cases: Cases,
    seed: int = 0,
    limit: int = CASES,
) -> list[Finding]:
    """A ranker whose metrics depend on how equal scores are ordered.

    Metrics with ties in the order of rows are held against those at the expected rank, over at
    most ``limit`` users; a finding where they leave the 95 % bootstrap interval.
    """
    chosen = np.sort(np.random.default_rng(seed).permutation(len(cases))[:limit])
    ranks = [_both_ranks(ranker, cases, rows) for rows in _batches(chosen)]
    fair, by_row = (metrics_per_user(np.concatenate(way)) for way in zip(*ranks, strict=True))
    columns = np.stack([fair[metric] for metric in METRICS], axis=1)
    findings = []
    for metric, mean in zip(METRICS, intervals(columns, seed), strict=True):
        value = float(by_row[metric].mean())
        if not mean.low <= value <= mean.high:
            findings.append(
                Finding(
                    "warning",
                    f"'{name}' gives many items one score: {metric} is {mean.value:.4f} "
                    f"[{mean.low:.4f}, {mean.high:.4f}] at the expected rank and {value:.4f} with "
                    "ties in the order of rows",
                    f"{len(chosen)} users",
                    "count ties at their expected rank, as p5mm does, or make scores differ",
                )
            )
    return findings


def row_order_ranks(
    scores: NDArray[np.floating], targets: NDArray[np.int64], seen: Histories
) -> NDArray[np.float64]:
    """Ranks ``[b]`` of targets where of equal scores ``[b, n]`` the lower row comes first."""
    own = np.take_along_axis(scores, targets[:, None], axis=1)
    ahead = scores > own
    ahead |= (scores == own) & (np.arange(scores.shape[1]) < targets[:, None])
    ahead[np.repeat(np.arange(len(seen)), seen.lengths), seen.items] = False
    ranks: NDArray[np.float64] = 1.0 + np.count_nonzero(ahead, axis=1)
    return ranks


def _both_ranks(
    ranker: Ranker, cases: Cases, rows: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Ranks of some targets with ties at the expected rank, and in the order of rows."""
    histories, targets = cases.histories.select(rows), cases.targets[rows]
    scores = ranker.scores(histories)
    return expected_ranks(scores, targets, histories), row_order_ranks(scores, targets, histories)


def _batches(rows: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    return [rows[start : start + BATCH] for start in range(0, len(rows), BATCH)]
