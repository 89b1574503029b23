"""Quality beside the baselines: python benchmarks/quality.py --data FOLDER [--seeds ...].

Trains each preset with each seed, evaluates on test once, prints the table, and adds a block to
results.md below --runs; for all sets, on test, without overrides, it rewrites README's table too.
Models are kept below --runs; a finished one is not trained again. FOLDER has the folders
amazon-beauty/ and ml-100k/.
"""

import argparse
import sys
import time

import numpy as np
from readme import difference, rewrite
from setting import (
    ROOT,
    append,
    commit,
    data_folder,
    finished,
    machine,
    options_parser,
    parsed,
    preset,
)

from p5mm.commands.train import train
from p5mm.evaluation.evaluate import BASELINES
from p5mm.evaluation.model_report import evaluate_model
from p5mm.evaluation.report import Report
from p5mm.presets import read_config

METRICS = ("recall@5", "ndcg@5", "recall@10", "ndcg@10", "recall@20", "ndcg@20")
SETS = ("ml-100k", "ml-100k-openp5", "amazon-beauty")
PAIRED = ("p5mm - sasrec", "p5mm - similarities", "p5mm - retriever")


def main() -> None:
    options = parsed(options_parser(__doc__, seeds=(0, 1, 2), split="test", sets=SETS))
    reports_of = {}
    for name in options.sets:
        reports, minutes = [], []
        for seed in options.seeds:
            report, spent = _run(options, name, seed)
            print(f"\n{name}, seed {seed}\n{report.table()}", flush=True)
            reports.append(report)
            minutes.append(spent)
        block = _block(options, name, reports, minutes)
        append(block, options.runs)
        reports_of[name] = reports
    if options.split == "test" and not options.overrides and set(reports_of) == set(SETS):
        rewrite(ROOT / "README.md", reports_of, commit())


def _run(options: argparse.Namespace, name: str, seed: int) -> tuple[Report, tuple[float, float]]:
    """The report of a seed, and the minutes of its training: to the best point, in all."""
    folder = options.runs / f"{name}-{seed}"
    overrides = ["--train.seed", str(seed), *options.overrides]
    model = finished(folder, read_config(preset(name), overrides))
    if model is None:
        model = train(preset(name), folder, str(data_folder(options.data, name)), overrides)
    # The baselines are fitted with the model's seed too, and kept beside its runs.
    report = evaluate_model(model, options.split, folder / "baselines", BASELINES)
    log = model.training_log
    best = max(range(len(log)), key=lambda i: log[i]["ndcg@10"])
    seconds = [epoch["seconds"] for epoch in [*log, *model.fitted.task_log]]
    return report, (sum(seconds[: best + 1]) / 60, sum(seconds) / 60)


def _block(
    options: argparse.Namespace,
    name: str,
    reports: list[Report],
    minutes: list[tuple[float, float]],
) -> str:
    about = reports[0].protocol
    seeds = " ".join(map(str, options.seeds))
    lines = [
        f"\n### {name}: {about['users']:,} users, {about['items']:,} items, {options.split}\n",
        f"    python benchmarks/quality.py --sets {name} --seeds {seeds} --split {options.split} "
        f"{' '.join(options.overrides)}".rstrip(),
        f"    {commit()}; {machine()}\n",
        f"Trained in {', '.join(f'{whole:.0f}' for _, whole in minutes)} min, the best point of "
        f"the retriever after {', '.join(f'{best:.1f}' for best, _ in minutes)}.",
        "Mean of the seeds; in brackets the spread of the seeds (lowest to highest).\n",
        "| model | " + " | ".join(METRICS) + " |",
        "|---" * (len(METRICS) + 1) + "|",
    ]
    for model in reports[0].models:
        cells = [_cell([r.models[model][m].value for r in reports]) for m in METRICS]
        lines.append(f"| {model} | " + " | ".join(cells) + " |")
    for pair in PAIRED:
        gains = [difference(reports, pair, metric) for metric in METRICS]
        cells = [f"{gain.value:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}]" for gain in gains]
        lines.append(f"| {pair} | " + " | ".join(cells) + " |")
    recalls = {key: np.mean([r.retrieval[key] for r in reports]) for key in reports[0].retrieval}
    lines.append("\nRetriever " + ", ".join(f"{k} {v:.4f}" for k, v in recalls.items()) + ".")
    lines.append("Differences: paired bootstrap over users of the mean over seeds, 95 %.\n")
    return "\n".join([*lines, *_slices(reports), ""])


def _slices(reports: list[Report]) -> list[str]:
    """Where each model is strong: mean NDCG@10 of the seeds in slices of the cases."""
    means = [report.slice_means("ndcg@10") for report in reports]
    models = [*reports[0].models]
    lines = [f"| ndcg@10 | cases | {' | '.join(models)} |", "|---" * (len(models) + 2) + "|"]
    for label, first in means[0].items():
        cells = [f"{np.mean([of[label][model] for of in means]):.4f}" for model in models]
        lines.append(f"| {label} | {first['cases']:.0f} | {' | '.join(cells)} |")
    return lines


def _cell(values: list[float]) -> str:
    spread = f" [{min(values):.4f}, {max(values):.4f}]" if len(values) > 1 else ""
    return f"{np.mean(values):.4f}{spread}"


if __name__ == "__main__":
    start = time.perf_counter()
    main()
    print(f"{(time.perf_counter() - start) / 60:.0f} min in all", file=sys.stderr)
