"""What numbers of items and order of ties move: python benchmarks/permutations.py --data FOLDER.

Trains the preset of ML-100K three times with one seed: as the data is, with every item under
another id, number and row, and with each user's ratings of one second in random order. Prints how
far the metrics move beside the interval of the plain model, and adds a block to results.md below
--runs. Models are kept there too; a finished one is not trained again (the plain one is that of
benchmarks/quality.py). FOLDER has a folder ml-100k/. Dotted overrides of the preset follow the
options.
"""

import argparse
from dataclasses import replace
from pathlib import Path

from setting import ROOT, append, commit, finished, machine, parsed, preset

from p5mm.config import Config
from p5mm.data.dataset import open_dataset
from p5mm.encoders.store import FeatureStore
from p5mm.evaluation.model_report import evaluate_model
from p5mm.evaluation.report import Report
from p5mm.metrics.intervals import paired
from p5mm.presets import read_config
from p5mm.ranking.trained_model import TrainedModel
from p5mm.serving.folder import write_model
from p5mm.training.fit import fit

NAME = "ml-100k"
METRICS = ("recall@10", "ndcg@10")
BASELINES = ("sasrec", "item-knn", "popularity")
PLAIN, NUMBERS, TIES = "plain", "items renumbered", "ties shuffled"


def main() -> None:
    options = _options()
    config = read_config(preset(NAME), options.overrides)
    data = replace(config.data, root=str(options.data / NAME))
    config = replace(config, data=data, train=replace(config.train, seed=options.seed))
    folders = {
        PLAIN: "",
        NUMBERS: f"-renumbered-{options.shuffle}",
        TIES: f"-ties-{options.shuffle}",
    }
    reports = {}
    for variant, suffix in folders.items():
        folder = options.runs / f"{NAME}-{options.seed}{suffix}"
        model = _model(folder, config, variant, options.shuffle)
        reports[variant] = evaluate_model(model, options.split, folder / "baselines", BASELINES)
        print(f"\n{variant}\n{reports[variant].table()}", flush=True)
    append(_block(options, reports), options.runs)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--seed", type=int, default=0, help="of the trainings")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs")
    parser.add_argument("--split", choices=["valid", "test"], default="valid")
    parser.add_argument("--shuffle", type=int, default=1, help="seed of numbers and of ties")
    return parsed(parser)


def _model(folder: Path, config: Config, variant: str, shuffle: int) -> TrainedModel:
    if variant == TIES:
        config = replace(config, data=replace(config.data, shuffle_ties=shuffle))
    model = finished(folder, config)
    if model is None:
        dataset = open_dataset(config.data)
        if variant == NUMBERS:
            dataset = dataset.renumbered(shuffle)
        model = fit(dataset, config, FeatureStore(), folder / "checkpoint")
        write_model(model, folder)
    return model


def _block(options: argparse.Namespace, reports: dict[str, Report]) -> str:
    about = reports[TIES].protocol
    overrides = "".join(f" {word}" for word in options.overrides)
    tied = about.get("last two at one time", float("nan"))
    lines = [
        f"\n### {NAME}, other numbers and other ties: {about['users']:,} users, {options.split}\n",
        f"    python benchmarks/permutations.py --seed {options.seed} --shuffle {options.shuffle} "
        f"--split {options.split}{overrides}",
        f"    {commit()}; {machine()}\n",
        f"The last two items of {tied:.1%} of the users came in one second. Leakage: "
        f"{_leakage(reports)}.",
        "In brackets 95 % bootstrap intervals over users; of a difference, paired. `outside`: the "
        "value has left the interval of the plain model.\n",
    ]
    for metric in METRICS:
        lines += [
            f"| {metric} | {PLAIN} | {NUMBERS} | difference | {TIES} | difference |",
            "|---" * 6 + "|",
            *(_row(reports, model, metric) for model in reports[PLAIN].models),
            "",
        ]
    return "\n".join(lines)


def _row(reports: dict[str, Report], model: str, metric: str) -> str:
    plain = reports[PLAIN].models[model][metric]
    cells = [f"{plain.value:.4f} [{plain.low:.4f}, {plain.high:.4f}]"]
    before = reports[PLAIN].per_user[model][metric]
    for variant in (NUMBERS, TIES):
        after = reports[variant].per_user[model][metric]
        moved = paired(after, before)
        inside = plain.low <= after.mean() <= plain.high
        cells.append(f"{after.mean():.4f}" + ("" if inside else " outside"))
        cells.append(f"{moved.value:+.4f} [{moved.low:+.4f}, {moved.high:+.4f}]")
    return f"| {model} | " + " | ".join(cells) + " |"


def _leakage(reports: dict[str, Report]) -> str:
    told = [report.protocol["leakage"] for report in reports.values()]
    warnings = {warning for found in told if found != "none found" for warning in found}
    return "; ".join(sorted(warnings)) or "none found"


if __name__ == "__main__":
    main()
