"""New items beside content-kNN: python benchmarks/cold.py --data FOLDER [--seeds ...].

Holds a tenth of the items out of training altogether (half of them to choose settings by, half for
the test), trains each preset with each seed on what is left, ranks the new items by their content,
prints the tables, and adds a block to results.md below --runs. Models are kept there too; a
finished one is not trained again. Dotted overrides of the presets follow the options.
"""

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
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

from p5mm.baselines.content_knn import ContentKNN, tuned
from p5mm.config import Config
from p5mm.data.dataset import open_dataset
from p5mm.data.split import Cases, Part
from p5mm.encoders.store import FeatureStore
from p5mm.evaluation.cold_start import ColdStart, Counted, Only, among_new, cold_report
from p5mm.evaluation.evaluate import evaluate
from p5mm.evaluation.report import Report
from p5mm.indexing.encode import encode_catalog
from p5mm.metrics.ranker import Ranker
from p5mm.model.content import Content
from p5mm.presets import read_config
from p5mm.ranking.trained_model import TrainedModel
from p5mm.serving.folder import write_model
from p5mm.training.fit import fit

METRICS = ("recall@10", "recall@50", "ndcg@10")
WARM = ("ndcg@10", "recall@10", "ndcg@50", "recall@50")
AMONG = ("new", "all")  # what the new items are ranked among
TUNED_ON = 1_500  # valid cases that choose the settings of content-kNN


def main() -> None:
    options = parsed(options_parser(__doc__))
    for name in options.sets:
        config = read_config(preset(name), options.overrides)
        config = replace(
            config, data=replace(config.data, root=str(data_folder(options.data, name)))
        )
        cold = ColdStart.draw(open_dataset(config.data))
        chosen = _content_knn(cold, config)
        runs = [_run(options, name, config, cold, chosen, seed) for seed in options.seeds]
        append(_block(options, name, cold, chosen, runs), options.runs)


def _content_knn(cold: ColdStart, config: Config) -> dict[str, ContentKNN]:
    """The best content-kNN by recall@50 of the valid new items, for each ranking its own."""
    n_items = len(cold.dataset.catalog)
    features = encode_catalog(cold.dataset.catalog, config.encoders, FeatureStore())
    vectors: dict[str, NDArray[np.float32]] = {}
    for suffix, whiten in (("", False), (" whitened", True)):
        made = Content.of(features, n_items, whiten).vectors
        vectors |= {name + suffix: values for name, values in made.items()}
    cases = cold.cases("valid")
    most = min(TUNED_ON, len(cases))
    cases = cases.take(np.unique(np.linspace(0, len(cases) - 1, most).astype(np.int64)))

    def measure(place: Callable[[Ranker], Ranker]) -> Callable[[ContentKNN], float]:
        return lambda knn: _recall(place(knn), cases, n_items)

    places: dict[str, Callable[[Ranker], Ranker]] = {
        "new": lambda ranker: Only(ranker, cold.rows),
        "all": lambda ranker: ranker,
    }
    return {among: tuned(vectors, measure(place)) for among, place in places.items()}


def _recall(ranker: Ranker, cases: Cases, n_items: int) -> float:
    return float(evaluate({"": ranker}, cases, n_items, (50,)).per_user[""]["recall@50"].mean())


def _run(
    options: argparse.Namespace,
    name: str,
    config: Config,
    cold: ColdStart,
    knn: dict[str, ContentKNN],
    seed: int,
) -> tuple[dict[str, Report], dict[str, float]]:
    model = _model(options.runs / f"cold-{name}-{seed}", config, cold, seed)
    reports: dict[str, Report] = {
        among: _report(model, cold, knn, options.split, among) for among in AMONG
    }
    told = {"leakage": leakage(model)}
    reports = {k: replace(r, protocol=r.protocol | told) for k, r in reports.items()}
    for among, report in reports.items():
        print(f"\n{name}, seed {seed}, among {among}\n{report.table()}", flush=True)
    return reports, _warm(model, cold)


def _model(folder: Path, config: Config, cold: ColdStart, seed: int) -> TrainedModel:
    config = replace(config, train=replace(config.train, seed=seed))
    model = finished(folder, config)
    if model is None:
        dataset = cold.training(config.data.k_core)
        model = fit(dataset, config, FeatureStore(), folder / "checkpoint")
        write_model(model, folder)
    return model


def _report(
    model: TrainedModel, cold: ColdStart, knn: dict[str, ContentKNN], part: Part, among: str
) -> Report:
    n_items, seed = len(model.catalog), model.config.train.seed
    train = model.rows[model.split.train.items]
    rankers: dict[str, Ranker] = {
        "p5mm": model.scorer,
        "retriever": model.scorer.alone(),
        "content-knn": knn[among],
        "popularity": Counted(np.bincount(train, minlength=n_items), seed),
        "random": Counted(np.zeros(n_items, np.int64), seed),
    }
    if among == "new":
        rankers = {key: Only(ranker, cold.rows) for key, ranker in rankers.items()}
        rankers["p5mm"] = among_new(model.scorer, cold.rows)
    return cold_report(rankers, cold.cases(part), n_items, part=part, seed=seed, among=among)


def _warm(model: TrainedModel, cold: ColdStart) -> dict[str, float]:
    """What the items that were taken lose on validation by new ones about, and by which numbers."""
    cases = model.split.cases("valid")
    everything = np.concatenate([model.rows, np.setdiff1d(cold.rows, model.rows)])
    told = {"handicap": model.fitted.handicap, "lift": model.fitted.lift}
    for where, rows in (("alone", model.rows), ("amid new", everything)):
        ranker = {"": model.scorer.among(rows)}
        found = evaluate(ranker, cases, len(rows), (10, 50)).per_user[""]
        told |= {f"{metric} {where}": float(found[metric].mean()) for metric in WARM}
    return told


def _block(
    options: argparse.Namespace,
    name: str,
    cold: ColdStart,
    knn: dict[str, ContentKNN],
    runs: list[tuple[dict[str, Report], dict[str, float]]],
) -> str:
    about = runs[0][0]["new"].protocol
    seeds = " ".join(map(str, options.seeds))
    lines = [
        f"\n### {name}, new items: {about['targets']} targets of {len(cold.rows):,} new in "
        f"{about['items']:,} items, {about['users']:,} users, {options.split}\n",
        f"    python benchmarks/cold.py --sets {name} --seeds {seeds} --split {options.split} "
        f"{' '.join(options.overrides)}".rstrip(),
        f"    {commit()}; {machine()}\n",
        "Mean of the seeds; in brackets the 95 % interval of the first seed (bootstrap over users;"
        f" differences paired). The users share {about['targets']} targets: other items would move "
        "the numbers further than these intervals say.\n",
        "| model | " + " | ".join(f"{m}, {among}" for among in AMONG for m in METRICS),
        "|---" * (2 * len(METRICS) + 1) + "|",
    ]
    lines[-2] += " |"
    first = runs[0][0]["new"]
    for row in [*first.models, *first.differences]:
        cells = [_cell([r[0][a] for r in runs], row, m) for a in AMONG for m in METRICS]
        lines.append(f"| {row} | " + " | ".join(cells) + " |")
    warm = {key: np.mean([of[key] for _, of in runs]) for key in runs[0][1]}
    lines.append("\nWarm validation: " + ", ".join(f"{k} {v:.4f}" for k, v in warm.items()) + ".")
    lines += [f"content-knn, {among}: {_told(best)}." for among, best in knn.items()]
    lines.append(f"Leakage: {about['leakage']}.")
    return "\n".join(lines) + "\n"


def _cell(reports: list[Report], row: str, metric: str) -> str:
    cells = [(report.models | report.differences)[row][metric] for report in reports]
    mean = np.mean([cell.value for cell in cells])
    return f"{mean:.4f} [{cells[0].low:.4f}, {cells[0].high:.4f}]"


def _told(knn: ContentKNN) -> str:
    weights = ", ".join(f"{name} {weight:g}" for name, weight in knn.weights.items() if weight)
    return f"{weights}; decay {knn.decay:g}, sharpness {knn.sharpness:g}"


if __name__ == "__main__":
    main()
