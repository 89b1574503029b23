"""One model for three tasks beside three specialists: python benchmarks/tasks.py --data FOLDER.

Trains each preset with the tasks together, and with each of them alone; measures all on the same
held-out items of one split by time: sequential (full ranking), direct (100 stored candidates),
rating (where there are ratings), with the prompts of training and with those held out. Prints the
tables and appends a block to benchmarks/RESULTS.md. Models are kept below --runs; a finished one
is not trained again. --joint names a model whose retriever is taken, such as that of
benchmarks/quality.py: --joint 'runs/{set}-{seed}'. Dotted overrides of the presets follow.
"""

import argparse
import json
import shlex
from collections.abc import Callable, Mapping
from datetime import date
from pathlib import Path

from setting import append, commit, data_folder, machine, parsed, parser, preset

from p5mm.baselines.biased_mf import BiasedMF
from p5mm.baselines.rating_means import GlobalMean, ItemMean, RecentBiases
from p5mm.commands.train import train
from p5mm.evaluation.direct import Asked, Chooser, Picked, Served, direct_report, fit_weight
from p5mm.evaluation.evaluate import evaluate, fit_baselines
from p5mm.evaluation.linter.model import model_findings
from p5mm.evaluation.ratings import AskedRating, Calibrated
from p5mm.evaluation.report import Report
from p5mm.evaluation.stored_candidates import stored_candidates
from p5mm.metrics.intervals import Interval, paired
from p5mm.metrics.ranker import Ranker
from p5mm.metrics.rating_errors import RatingCases, RatingModel, rating_report
from p5mm.model.questions import Question
from p5mm.ranking.scorer import DECODER
from p5mm.ranking.trained_model import TrainedModel
from p5mm.serving.folder import read_model, write_model
from p5mm.training.calibration import GRIDS, Parts
from p5mm.training.decoder import with_tasks

TASKS = {"sequential": 0.5, "direct": 0.2, "rating": 0.2}  # weights where a preset has none
METRICS = {
    "sequential": ("recall@10", "ndcg@10"),
    "direct": ("hit@1", "hit@5", "hit@10", "ndcg@5", "ndcg@10"),
    "rating": ("rmse", "mae"),
}
ONE, OWN = "one model", "specialist"
COMPARED = ("as served", "mean of seen", "held-out 1")  # rows that are set against a specialist's
Rows = dict[str, dict[str, Interval]]


def main() -> None:
    options = _options()
    for name in options.sets:
        for seed in options.seeds:
            tables = _tables(options, name, seed)
            block = _block(options, name, seed, tables)
            append(block)


def _options() -> argparse.Namespace:
    made = parser(__doc__)
    made.add_argument("--joint", help="folder of a trained model, with {set} and {seed}")
    return parsed(made)


def _tables(options: argparse.Namespace, name: str, seed: int) -> dict[str, Rows]:
    """Task to its table: a row a model and prompt, then the differences."""
    base_folder, base = _base(options, name, seed)
    tasks = TASKS | base.config.train.tasks
    if len(base.fitted.levels) < 2:
        del tasks["rating"]
    folder = f"tasks-{name}-{seed}"
    together = base.config.train.tasks == tasks
    one = base if together else _kept(options.runs / folder, base, tasks)
    own = {
        task: _kept(options.runs / f"{folder}-{task}", base, {task: weight})
        for task, weight in tasks.items()
    }
    model_findings(one)
    baselines = fit_baselines(one.split, len(one.rows), base_folder / "baselines", seed=seed)
    tables = {
        "sequential": _sequential(options.split, one, own["sequential"], baselines),
        "direct": _direct(options, name, one, own["direct"], baselines),
    }
    if "rating" in tasks:
        tables["rating"] = _rating(options.split, one, own["rating"])
    return tables


def _base(options: argparse.Namespace, name: str, seed: int) -> tuple[Path, TrainedModel]:
    """The model whose retriever all share, and its folder."""
    given = options.joint or str(options.runs / f"{name}-{seed}")
    folder = Path(given.format(set=name, seed=seed))
    if not (folder / "config.json").is_file():
        config = preset(name)
        print(f"\n{name}, seed {seed}: the retriever, in {folder}", flush=True)
        overrides = ["--train.seed", str(seed), *options.overrides]
        train(config, folder, str(data_folder(options.data, name)), overrides)
    return folder, read_model(folder)


def _kept(folder: Path, base: TrainedModel, tasks: Mapping[str, float]) -> TrainedModel:
    if base.config.train.tasks == tasks:
        return base
    if not (folder / "config.json").is_file():
        print(f"\ntraining {json.dumps(tasks)} in {folder}", flush=True)
        write_model(with_tasks(base, tasks), folder)
    return read_model(folder)


def _named(
    make: Callable[[TrainedModel, list[Question]], object],
    one: TrainedModel,
    own: TrainedModel,
    family: str,
) -> dict[str, object]:
    """What ``make`` makes of both models with each prompt, and with the mean of the seen ones."""
    found = {}
    for who, model in ((ONE, one), (OWN, own)):
        asked = model.questions(family)
        ways = {question.name: [question] for question in asked}
        ways["mean of seen"] = [question for question in asked if not question.held_out]
        found |= {f"{who}, {name}": make(model, way) for name, way in ways.items()}
    return found


def _sequential(
    part: str, one: TrainedModel, own: TrainedModel, baselines: Mapping[str, Ranker]
) -> Rows:
    rankers: dict[str, Ranker] = {
        f"{ONE}, as served": one.scorer.among(one.rows),
        f"{OWN}, as served": own.scorer.among(own.rows),
    }
    for who, model in ((ONE, one), (OWN, own)):
        weight = _decoder_weight(model)
        print(f"weight of the decoder, sequential: {who} {weight:g}", flush=True)
        for question in model.questions("sequential"):
            scorer = model.scorer.asked_by(question.tokens)
            name = f"{who}, retriever + decoder, {question.name}"
            rankers[name] = scorer.weighing(None, {DECODER: weight}).among(model.rows)
    rankers |= {"retriever": one.scorer.alone().among(one.rows), **baselines}
    report = evaluate(rankers, one.split.cases(part), len(one.rows), split=part)
    return _with_differences(report, f"{ONE}, as served", ["retriever", *baselines])


def _decoder_weight(model: TrainedModel) -> float:
    """The decoder's best weight beside the retriever alone, on validation."""
    scorer = model.scorer.within(model.rows)
    parts = Parts.of(scorer, [DECODER], model.split.cases("valid").in_rows(model.rows))
    return max(GRIDS[DECODER], key=lambda weight: parts.ndcg({DECODER: weight}).mean())


def _direct(
    options: argparse.Namespace,
    name: str,
    one: TrainedModel,
    own: TrainedModel,
    baselines: Mapping[str, Ranker],
) -> Rows:
    stored = {
        part: stored_candidates(one, part, options.runs / f"candidates-{name}-{part}.parquet")
        for part in ("valid", options.split)
    }
    weights = {
        id(model): fit_weight(model, model.questions("direct"), stored["valid"])
        for model in (one, own)
    }
    print(f"weight of the decoder, direct: {ONE}, {OWN} {list(weights.values())}", flush=True)
    both = _named(lambda model, way: Asked.of(model, way, weights[id(model)]), one, own, "direct")
    alone = _named(lambda model, way: Asked.of(model, way, None), one, own, "direct")
    alone = {f"{key}, decoder alone": alone[key] for key in alone if not key[-1].isdigit()}
    choosers: dict[str, Chooser] = {f"{ONE}, as served": Served(one.scorer, one.rows)}
    choosers |= both | alone
    choosers["retriever"] = Picked(one.scorer.alone().among(one.rows))
    choosers |= {key: Picked(ranker) for key, ranker in baselines.items()}
    report = direct_report(choosers, stored[options.split], options.split)
    return _with_differences(report, f"{ONE}, mean of seen", ["retriever", *baselines])


def _rating(part: str, one: TrainedModel, own: TrainedModel) -> Rows:
    valid = RatingCases.of(one.split, "valid")
    models: dict[str, RatingModel] = _named(AskedRating.of, one, own, "rating")
    simple = {
        "global mean": GlobalMean(),
        "item mean": ItemMean(),
        "recent biases": RecentBiases(),
        "biased MF": BiasedMF(),
    }
    for model in simple.values():
        model.fit(one.split, len(one.rows))
    models |= simple
    straight = f"{ONE}, mean of seen", f"{OWN}, mean of seen", "biased MF"
    models |= {f"{key}, calibrated": Calibrated.of(models[key], valid) for key in straight}
    report = rating_report(models, RatingCases.of(one.split, part), part)
    rows = report.models
    for main, others in _pairs(rows, f"{ONE}, mean of seen", list(simple)):
        rows |= {f"{main} - {key}": report.differences(main)[f"{main} - {key}"] for key in others}
    return rows


def _with_differences(report: Report, main: str, others: list[str]) -> Rows:
    rows = report.models
    for left, rights in _pairs(rows, main, others):
        for right in rights:
            a, b = report.per_user[left], report.per_user[right]
            rows[f"{left} - {right}"] = {metric: paired(a[metric], b[metric]) for metric in a}
    return rows


def _pairs(rows: Rows, main: str, others: list[str]) -> list[tuple[str, list[str]]]:
    """What is compared: the main model with others, and the one model with the specialist."""
    partners = {key: key.replace(ONE, OWN) for key in rows if key.endswith(COMPARED)}
    same = [(key, [own]) for key, own in partners.items() if key != own and own in rows]
    return [(main, others), *same]


def _block(options: argparse.Namespace, name: str, seed: int, tables: Mapping[str, Rows]) -> str:
    given = ["--joint", options.joint] if options.joint else []
    lines = [
        f"\n### {name}, tasks together, {options.split}\n",
        f"    python benchmarks/tasks.py --sets {name} --seeds {seed} --split {options.split} "
        f"{shlex.join([*given, *options.overrides])}".rstrip(),
        f"    {date.today()}, {commit()}; {machine()}\n",
        "One model is trained with all tasks, a specialist with the one of its table; both have "
        "the same retriever. 95 % bootstrap intervals over users; differences paired. Weights, "
        "calibration and the baselines' settings are fitted on validation. The decoder is taught "
        "what to add to the retriever: alone it is no ranking.\n",
    ]
    for task, rows in tables.items():
        lines += [
            f"| {task} | " + " | ".join(METRICS[task]) + " |",
            "|---" * (len(METRICS[task]) + 1) + "|",
            *(f"| {key} | {_cells(key, of, METRICS[task])} |" for key, of in rows.items()),
            "",
        ]
    return "\n".join(lines)


def _cells(key: str, of: Mapping[str, Interval], metrics: tuple[str, ...]) -> str:
    sign = "+" if " - " in key else ""
    return " | ".join(
        f"{of[m].value:{sign}.4f} [{of[m].low:{sign}.4f}, {of[m].high:{sign}.4f}]" for m in metrics
    )


if __name__ == "__main__":
    main()
