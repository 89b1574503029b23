"""The table of README's section on quality, written anew from the reports of a run."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from p5mm.evaluation.report import Report
from p5mm.metrics.intervals import Interval, paired

BEGIN, END = "<!-- quality: benchmarks/quality.py writes this -->", "<!-- quality: end -->"
METRICS = ("recall@10", "ndcg@10")
VERSUS = "p5mm - sasrec"


def rewrite(path: Path, reports: Mapping[str, Sequence[Report]], commit: str) -> None:
    """Put the table of all sets between README's two marks.

    Args:
        path: README.md.
        reports: Set to the reports of its seeds.
        commit: That was measured.
    """
    before, _, rest = path.read_text(encoding="utf-8").partition(BEGIN)
    _, mark, after = rest.partition(END)
    if not mark:
        raise ValueError(f"{path} lacks the marks {BEGIN} and {END}; put them around the table")
    path.write_text(f"{before}{BEGIN}\n{table(reports, commit)}\n{END}{after}", encoding="utf-8")


def table(reports: Mapping[str, Sequence[Report]], commit: str) -> str:
    """Means of the seeds; the differences' intervals are over users, of their mean over seeds."""
    columns = [(name, metric) for name in reports for metric in METRICS]
    seeds = [report.protocol["seed"] for report in next(iter(reports.values()))]
    lines = [
        f"Commit {commit}, mean of the seeds {', '.join(map(str, seeds))}:\n",
        "| test | " + " | ".join(f"{name} {metric}" for name, metric in columns) + " |",
        "|---" * (len(columns) + 1) + "|",
    ]
    for model in next(iter(reports.values()))[0].models:
        cells = [
            f"{np.mean([report.per_user[model][metric].mean() for report in reports[name]]):.4f}"
            for name, metric in columns
        ]
        lines.append(f"| {model} | " + " | ".join(cells) + " |")
    gains = [difference(reports[name], VERSUS, metric) for name, metric in columns]
    cells = [f"{gain.low:+.4f} to {gain.high:+.4f}" for gain in gains]
    lines.append(f"| {VERSUS}, 95 % interval | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def difference(reports: Sequence[Report], pair: str, metric: str) -> Interval:
    """``LEFT - RIGHT``: bootstrap over users, each of whom counts with the mean of the seeds."""
    left, right = (
        np.mean([report.per_user[name][metric] for report in reports], axis=0)
        for name in pair.split(" - ")
    )
    return paired(left, right)
