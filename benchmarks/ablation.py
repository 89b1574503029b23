"""What fusion and modalities are worth: python benchmarks/ablation.py --data FOLDER [--seeds ...].

Trains each preset as it is, with the other fusions, with each modality absent (zero) and shuffled,
and by ids alone; ranks the trained preset with ablated content too; prints the differences, paired
over users, and adds a block to results.md below --runs. Models are kept there too; a finished one
is not trained again. Dotted overrides of the presets follow the options.
"""

import argparse
import shlex
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from setting import (
    append,
    commit,
    data_folder,
    finished,
    leakage,
    machine,
    options_parser,
    parsed,
    preset,
)

from p5mm.commands.train import train
from p5mm.errors import unknown
from p5mm.evaluation.ablation import WAYS, ablated
from p5mm.evaluation.evaluate import evaluate
from p5mm.evaluation.report import MAIN, Report
from p5mm.metrics.ranker import Ranker
from p5mm.presets import read_config
from p5mm.ranking.trained_model import TrainedModel

FUSIONS = ("gate", "concat", "attention")
METRICS = ("recall@10", "ndcg@10")
PRESET = "preset"
STAGES = ("final", "retriever")


def main() -> None:
    asked = options_parser(__doc__)
    asked.add_argument("--variants", nargs="*", help="names of those to train; all if not given")
    options = parsed(asked)
    for name in options.sets:
        runs = [_run(options, name, seed) for seed in options.seeds]
        means = {stage: _mean([run[stage] for run in runs]) for stage in STAGES}
        append(_block(options, name, means), options.runs)


def _run(options: argparse.Namespace, name: str, seed: int) -> dict[str, Report]:
    """A report of all variants for each stage of the score."""
    real = _trained(options, name, seed, PRESET, {})
    models = {MAIN: real}
    variants = _variants(real)
    for variant in variants if options.variants is None else options.variants:
        if variant not in variants:
            raise unknown("variant", variant, variants)
        models[f"trained: {variant}"] = _trained(options, name, seed, variant, variants[variant])
    for modality, present in real.content.present.items():
        if present.any():
            models |= {f"served: {modality} {way}": ablated(real, {modality: way}) for way in WAYS}
    stages: dict[str, dict[str, Ranker]] = {
        "final": {key: model.scorer.among(model.rows) for key, model in models.items()},
        "retriever": {key: model.scorer.alone().among(model.rows) for key, model in models.items()},
    }
    cases, n_items = real.split.cases(options.split), len(real.rows)
    reports = {
        stage: evaluate(rankers, cases, n_items, seed=seed, split=options.split)
        for stage, rankers in stages.items()
    }
    leaks = {"leakage": {key: leakage(model) for key, model in models.items()}}
    reports = {
        stage: replace(report, protocol=report.protocol | leaks)
        for stage, report in reports.items()
    }
    for stage, report in reports.items():
        print(f"\n{name}, seed {seed}, {stage}\n{report.table()}", flush=True)
    return reports


def _variants(real: TrainedModel) -> dict[str, dict[str, str]]:
    """Name to the settings in which a variant differs from the preset."""
    modalities = list(real.content.vectors)
    fusions = [fusion for fusion in FUSIONS if fusion != real.config.model.fusion]
    variants = {f"{fusion} fusion": {"model.fusion": fusion} for fusion in fusions}
    variants |= {
        f"{name} {how}": {f"encoders.ablate.{name}": how} for name in modalities for how in WAYS
    }
    if len(modalities) > 1:
        variants["ids only"] = {f"encoders.ablate.{name}": "zero" for name in modalities}
    return variants


def _trained(
    options: argparse.Namespace, name: str, seed: int, variant: str, settings: Mapping[str, str]
) -> TrainedModel:
    suffix = "" if variant == PRESET else f"-{variant.replace(' ', '-')}"
    folder = options.runs / f"{name}-{seed}{suffix}"
    changed = [part for key, value in settings.items() for part in (f"--{key}", value)]
    overrides = ["--train.seed", str(seed), *options.overrides, *changed]
    model = finished(folder, read_config(preset(name), overrides))
    if model is None:
        print(f"\n{name}, seed {seed}, {variant}", flush=True)
        model = train(preset(name), folder, str(data_folder(options.data, name)), overrides)
    return model


def _mean(reports: list[Report]) -> Report:
    """Each user's metrics averaged over the seeds: intervals are of the seeds' mean."""
    per_user = {
        model: {
            metric: np.mean([report.per_user[model][metric] for report in reports], axis=0)
            for metric in metrics
        }
        for model, metrics in reports[0].per_user.items()
    }
    return replace(reports[0], per_user=per_user)


def _block(options: argparse.Namespace, name: str, reports: Mapping[str, Report]) -> str:
    about = reports["final"].protocol
    seeds = " ".join(map(str, options.seeds))
    columns = [f"{metric}, {stage}" for stage in STAGES for metric in METRICS]
    lines = [
        f"\n### {name}, fusion and modalities: {about['users']:,} users, {about['items']:,} items, "
        f"{options.split}\n",
        f"    python benchmarks/ablation.py --sets {name} --seeds {seeds} --split {options.split} "
        f"{shlex.join([*_chosen(options), *options.overrides])}".rstrip(),
        f"    {commit()}; {machine()}\n",
        f"{MAIN} is the preset; trained: a model of its own; served: the preset's weights on "
        "ablated content. Mean of the seeds, 95 % intervals (bootstrap over users; differences "
        f"paired). Leakage, first seed: {_leaks(about['leakage'])}.\n",
        "| model | " + " | ".join(columns) + " |",
        "|---" * (len(columns) + 1) + "|",
    ]
    tables = {stage: report.models | report.differences for stage, report in reports.items()}
    for row in tables["final"]:
        sign = "+" if row.startswith(f"{MAIN} - ") else ""
        cells = [
            f"{mean.value:{sign}.4f} [{mean.low:{sign}.4f}, {mean.high:{sign}.4f}]"
            for mean in (tables[stage][row][metric] for stage in STAGES for metric in METRICS)
        ]
        lines.append(f"| {row} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _leaks(by_model: Mapping[str, str]) -> str:
    """What the linter said of each model, in one line."""
    return "; ".join(dict.fromkeys(by_model.values()))


def _chosen(options: argparse.Namespace) -> list[str]:
    return [] if options.variants is None else ["--variants", *options.variants]


if __name__ == "__main__":
    main()
