"""What the protocol's choices are worth: python benchmarks/variants.py --data FOLDER [--sets ...].

Evaluates a preset as it is (seen items filtered, leave-one-out, ties as in the file) and in three
variants: seen items kept (the same model), ties shuffled and a global time split (trained anew for
each seed), with the baselines beside all of them. Adds a block for each set to results.md below
--runs. A variant that the log cannot give, such as a time split of sequences, is left out and the
reason told. Models are kept below --runs; a finished one is not trained again (those of the preset
are those of benchmarks/quality.py). FOLDER has a folder for each set. Dotted overrides of the
preset follow the options.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from readme import difference
from setting import append, commit, data_folder, finished, machine, options_parser, parsed, preset

from p5mm.commands.train import train
from p5mm.errors import InputError
from p5mm.evaluation.model_report import evaluate_model
from p5mm.evaluation.report import MAIN, Report
from p5mm.presets import read_config
from p5mm.ranking.trained_model import TrainedModel

METRICS = ("recall@10", "ndcg@10")
BASELINES = ("sasrec", "item-knn", "popularity")
TIES_SEED = "1"


@dataclass(frozen=True)
class Variant:
    """A way to train and to evaluate.

    Attributes:
        suffix: Of the model's folder; those of one suffix share a model.
        overrides: Of the preset.
        keep_seen: Whether seen items compete.
    """

    suffix: str = ""
    overrides: tuple[str, ...] = ()
    keep_seen: bool = False


VARIANTS = {
    "default": Variant(),
    "seen kept": Variant(keep_seen=True),
    "ties shuffled": Variant(f"-ties-{TIES_SEED}", ("--data.shuffle_ties", TIES_SEED)),
    "time split": Variant("-time", ("--data.split", "time")),
}


def main() -> None:
    options = parsed(options_parser(__doc__, split="test"))
    for name in options.sets:
        reports, left_out = {}, {}
        for title, variant in VARIANTS.items():
            try:
                reports[title] = [_report(options, name, variant, s) for s in options.seeds]
            except InputError as error:
                if variant == Variant():
                    raise
                left_out[title] = str(error)
                continue
            print(f"\n{name}, {title}\n{reports[title][0].table()}", flush=True)
        append(_block(options, name, reports, left_out), options.runs)


def _report(options: argparse.Namespace, name: str, variant: Variant, seed: int) -> Report:
    folder = options.runs / f"{name}-{seed}{variant.suffix}"
    overrides = ["--train.seed", str(seed), *options.overrides, *variant.overrides]
    model = _model(folder, name, str(data_folder(options.data, name)), overrides)
    return evaluate_model(
        model, options.split, folder / "baselines", BASELINES, keep_seen=variant.keep_seen
    )


def _model(folder: Path, name: str, data: str, overrides: list[str]) -> TrainedModel:
    model = finished(folder, read_config(preset(name), overrides))
    return model or train(preset(name), folder, data, overrides)


def _block(
    options: argparse.Namespace,
    name: str,
    reports: dict[str, list[Report]],
    left_out: dict[str, str],
) -> str:
    seeds = " ".join(map(str, options.seeds))
    command = f"python benchmarks/variants.py --sets {name} --seeds {seeds} --split {options.split}"
    lines = [
        f"\n### {name}: other protocols\n",
        f"    {' '.join([command, *options.overrides])}",
        f"    {commit()}; {machine()}\n",
        *(f"- {title}: {_asked(of[0])}" for title, of in reports.items()),
        *(f"- {title}: left out: {why}" for title, why in left_out.items()),
        "\nMeans of the seeds; differences with paired 95 % bootstrap intervals over users.",
    ]
    for metric in METRICS:
        lines += ["", f"| {metric} | {' | '.join(reports)} |", "|---" * (len(reports) + 1) + "|"]
        lines += [_row(model, metric, reports) for model in (MAIN, "retriever", *BASELINES)]
        lines += [_gain(f"{MAIN} - {other}", metric, reports) for other in BASELINES]
    return "\n".join([*lines, ""])


def _asked(report: Report) -> str:
    """What a variant's protocol says."""
    about = report.protocol
    seen = "filtered" if about["seen filtered"] else "kept"
    bounds = [key for key in ("trained before", "tested from") if key in about]
    leaks = about["leakage"]
    told = [
        f"{about['users']:,} users, {about['items']:,} items",
        about["held out"],
        *(f"{key} {about[key]:.15g}" for key in bounds),
        f"seen items {seen}",
        f"equal times {about['equal times']}",
        f"leakage: {leaks if isinstance(leaks, str) else '; '.join(leaks)}",
    ]
    return "; ".join(told)


def _row(model: str, metric: str, reports: dict[str, list[Report]]) -> str:
    means = [np.mean([one.per_user[model][metric] for one in of]) for of in reports.values()]
    return f"| {model} | " + " | ".join(f"{mean:.4f}" for mean in means) + " |"


def _gain(pair: str, metric: str, reports: dict[str, list[Report]]) -> str:
    gains = [difference(of, pair, metric) for of in reports.values()]
    cells = [f"{gain.value:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}]" for gain in gains]
    return f"| {pair} | " + " | ".join(cells) + " |"


if __name__ == "__main__":
    main()
