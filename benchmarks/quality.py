"""Quality beside the baselines: python benchmarks/quality.py --data FOLDER [--seeds ...].

Trains each preset with each seed, evaluates on test once, prints the table, and appends a block to
benchmarks/RESULTS.md. Models are kept below --runs; a finished one is not trained again. FOLDER has
a folder for each set: amazon-beauty/, ml-100k/.
"""

import argparse
import os
import platform
import subprocess
import sys
import time
from datetime import date
from pathlib import Path

import numpy as np
import torch

from p5mm.evaluation import BASELINES, Report
from p5mm.model_commands import evaluation_of, train
from p5mm.recommender import Recommender

HERE = Path(__file__).parent
METRICS = ("recall@5", "ndcg@5", "recall@10", "ndcg@10", "recall@20", "ndcg@20")
PAIRED = ("p5mm - sasrec", "p5mm - retriever")


def main() -> None:
    options = _options()
    for name in options.sets:
        reports, minutes = [], []
        for seed in options.seeds:
            report, spent = _run(options, name, seed)
            print(f"\n{name}, seed {seed}\n{report.table()}", flush=True)
            reports.append(report)
            minutes.append(spent)
        block = _block(options, name, reports, minutes)
        print(block)
        with (HERE / "RESULTS.md").open("a", encoding="utf-8") as results:
            results.write(block)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=HERE.parent.parent / "shared" / "data")
    parser.add_argument("--sets", nargs="+", default=["ml-100k", "amazon-beauty"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--runs", type=Path, default=HERE.parent / "runs")
    parser.add_argument("--split", choices=["valid", "test"], default="test")
    options, options.overrides = parser.parse_known_args()
    return options


def _run(options: argparse.Namespace, name: str, seed: int) -> tuple[Report, float]:
    folder = options.runs / f"{name}-{seed}"
    if not (folder / "config.json").is_file():
        config = HERE.parent / "configs" / f"{name}.yaml"
        overrides = ["--train.seed", str(seed), *options.overrides]
        train(config, folder, str(options.data / name), overrides)
    model = Recommender.load(folder)
    # The baselines are fitted with the model's seed too, and kept beside its runs.
    report = evaluation_of(model, options.split, folder / "baselines", BASELINES)
    return report, sum(epoch["seconds"] for epoch in model.training_log) / 60


def _block(
    options: argparse.Namespace, name: str, reports: list[Report], minutes: list[float]
) -> str:
    about = reports[0].protocol
    seeds = " ".join(map(str, options.seeds))
    lines = [
        f"\n### {name}: {about['users']:,} users, {about['items']:,} items, {options.split}\n",
        f"    python benchmarks/quality.py --sets {name} --seeds {seeds} "
        f"{' '.join(options.overrides)}".rstrip(),
        f"    {date.today()}, {_commit()}; {_machine()}; trained in "
        f"{', '.join(f'{m:.0f}' for m in minutes)} min\n",
        "Mean of the seeds; in brackets the spread of the seeds (lowest to highest).\n",
        "| model | " + " | ".join(METRICS) + " |",
        "|---" * (len(METRICS) + 1) + "|",
    ]
    for model in reports[0].models:
        cells = [_cell([r.models[model][m].value for r in reports]) for m in METRICS]
        lines.append(f"| {model} | " + " | ".join(cells) + " |")
    for pair in PAIRED:
        cells = [_difference([r.differences[pair][m] for r in reports]) for m in METRICS]
        lines.append(f"| {pair} | " + " | ".join(cells) + " |")
    found = {key: np.mean([r.retrieval[key] for r in reports]) for key in reports[0].retrieval}
    lines.append("\nRetriever " + ", ".join(f"{k} {v:.4f}" for k, v in found.items()) + ". ")
    lines.append("Differences: paired bootstrap over users, 95 %, of the first seed.\n")
    return "\n".join(lines)


def _cell(values: list[float]) -> str:
    spread = f" [{min(values):.4f}, {max(values):.4f}]" if len(values) > 1 else ""
    return f"{np.mean(values):.4f}{spread}"


def _difference(intervals: list[object]) -> str:
    first = intervals[0]
    mean = np.mean([one.value for one in intervals])  # type: ignore[attr-defined]
    return f"{mean:+.4f} [{first.low:+.4f}, {first.high:+.4f}]"  # type: ignore[attr-defined]


def _commit() -> str:
    done = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=HERE
    )
    return done.stdout.strip() or "no commit"


def _machine() -> str:
    return (
        f"{os.cpu_count()} x {platform.processor() or platform.machine()}, "
        f"{torch.get_num_threads()} threads, torch {torch.__version__}"
    )


if __name__ == "__main__":
    start = time.perf_counter()
    main()
    print(f"{(time.perf_counter() - start) / 60:.0f} min in all", file=sys.stderr)
