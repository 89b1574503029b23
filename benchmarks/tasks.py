"""One model for three tasks beside three specialists: python benchmarks/tasks.py --data FOLDER.

Trains each preset with the tasks together, and with each of them alone; measures all on the same
held-out items of one split by time: sequential (full ranking), direct (100 stored candidates),
rating (where there are ratings), with the prompts of training and with those held out. Prints the
tables and adds a block to results.md below --runs. Models are kept there too; a finished one is
not trained again. --joint names a model whose retriever is taken, such as that of
benchmarks/quality.py: --joint 'runs/{set}-{seed}'. Dotted overrides of the presets follow.
"""

import argparse
import json
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from setting import append, commit, data_folder, leakage, machine, options_parser, parsed, preset

from p5mm.baselines.biased_mf import BiasedMF
from p5mm.baselines.rating_means import GlobalMean, ItemMean, RecentBiases
from p5mm.commands.train import train
from p5mm.data.split import Part
from p5mm.evaluation.direct import Asked, Chooser, Picked, Served, direct_report, fit_weight
from p5mm.evaluation.evaluate import evaluate, fit_baselines
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
JOINT, SPECIALIST = "one model", "specialist"
COMPARED = ("as served", "mean of seen", "held-out 1")  # rows that are set against a specialist's
Rows = dict[str, dict[str, Interval]]
Made = TypeVar("Made")


def main() -> None:
    options = _options()
    for name in options.sets:
        for seed in options.seeds:
            tables, leaks = _tables(options, name, seed)
            append(_block(options, name, seed, tables, leaks), options.runs)


def _options() -> argparse.Namespace:
    options = options_parser(__doc__)
    options.add_argument("--joint", help="folder of a trained model, with {set} and {seed}")
    return parsed(options)


def _tables(options: argparse.Namespace, name: str, seed: int) -> tuple[dict[str, Rows], str]:
    """Task to its table (a row a model and prompt, then the differences), and the linter's word."""
    base_folder, base = _base(options, name, seed)
    tasks = TASKS | base.config.train.tasks
    if len(base.fitted.levels) < 2:
        del tasks["rating"]
    folder = f"tasks-{name}-{seed}"
    together = base.config.train.tasks == tasks
    joint = base if together else _with_tasks(options.runs / folder, base, tasks)
    specialists = {
        task: _with_tasks(options.runs / f"{folder}-{task}", base, {task: weight})
        for task, weight in tasks.items()
    }
    leaks = dict.fromkeys(leakage(model) for model in (joint, *specialists.values()))
    baselines = fit_baselines(joint.split, len(joint.rows), base_folder / "baselines", seed=seed)
    tables = {
        "sequential": _sequential(options.split, joint, specialists["sequential"], baselines),
        "direct": _direct(options, name, joint, specialists["direct"], baselines),
    }
    if "rating" in tasks:
        tables["rating"] = _rating(options.split, joint, specialists["rating"])
    return tables, "; ".join(leaks)


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


def _with_tasks(folder: Path, base: TrainedModel, tasks: Mapping[str, float]) -> TrainedModel:
    if base.config.train.tasks == tasks:
        return base
    if not (folder / "config.json").is_file():
        print(f"\ntraining {json.dumps(tasks)} in {folder}", flush=True)
        write_model(with_tasks(base, tasks), folder)
    return read_model(folder)


def _by_prompt(
    make: Callable[[TrainedModel, list[Question]], Made],
    joint: TrainedModel,
    specialist: TrainedModel,
    family: str,
) -> dict[str, Made]:
    """What ``make`` makes of both models with each prompt, and with the mean of the seen ones."""
    made: dict[str, Made] = {}
    for who, model in ((JOINT, joint), (SPECIALIST, specialist)):
        prompts = model.questions(family)
        ways = {prompt.name: [prompt] for prompt in prompts}
        ways["mean of seen"] = [prompt for prompt in prompts if not prompt.held_out]
        made |= {f"{who}, {name}": make(model, way) for name, way in ways.items()}
    return made


def _sequential(
    part: Part, joint: TrainedModel, specialist: TrainedModel, baselines: Mapping[str, Ranker]
) -> Rows:
    rankers: dict[str, Ranker] = {
        f"{JOINT}, as served": joint.scorer.among(joint.rows),
        f"{SPECIALIST}, as served": specialist.scorer.among(specialist.rows),
    }
    for who, model in ((JOINT, joint), (SPECIALIST, specialist)):
        weight = _decoder_weight(model)
        print(f"weight of the decoder, sequential: {who} {weight:g}", flush=True)
        for question in model.questions("sequential"):
            scorer = model.scorer.asked_by(question.tokens)
            name = f"{who}, retriever + decoder, {question.name}"
            rankers[name] = scorer.weighing({DECODER: weight}).among(model.rows)
    rankers |= {"retriever": joint.scorer.alone().among(joint.rows), **baselines}
    report = evaluate(rankers, joint.split.cases(part), len(joint.rows), split=part)
    return _with_differences(report, f"{JOINT}, as served", ["retriever", *baselines])


def _decoder_weight(model: TrainedModel) -> float:
    """The decoder's best weight beside the retriever alone, on validation."""
    scorer = model.scorer.within(model.rows)
    parts = Parts.of(scorer, [DECODER], model.split.cases("valid").in_rows(model.rows))
    return max(GRIDS[DECODER], key=lambda weight: parts.ndcg({DECODER: weight}).mean())


def _direct(
    options: argparse.Namespace,
    name: str,
    joint: TrainedModel,
    specialist: TrainedModel,
    baselines: Mapping[str, Ranker],
) -> Rows:
    parts: tuple[Part, ...] = ("valid", options.split)
    stored = {
        part: stored_candidates(joint, part, options.runs / f"candidates-{name}-{part}.parquet")
        for part in parts
    }
    weights = {
        id(model): fit_weight(model, model.questions("direct"), stored["valid"])
        for model in (joint, specialist)
    }
    told = list(weights.values())
    print(f"weight of the decoder, direct: {JOINT}, {SPECIALIST} {told}", flush=True)

    def weighed(model: TrainedModel, prompts: list[Question]) -> Asked:
        return Asked.of(model, prompts, weights[id(model)])

    def alone(model: TrainedModel, prompts: list[Question]) -> Asked:
        return Asked.of(model, prompts, None)

    by_decoder = _by_prompt(alone, joint, specialist, "direct")
    choosers: dict[str, Chooser] = {f"{JOINT}, as served": Served(joint.scorer, joint.rows)}
    choosers |= _by_prompt(weighed, joint, specialist, "direct")
    choosers |= {
        f"{key}, decoder alone": chooser
        for key, chooser in by_decoder.items()
        if key.endswith("mean of seen")
    }
    choosers["retriever"] = Picked(joint.scorer.alone().among(joint.rows))
    choosers |= {key: Picked(ranker) for key, ranker in baselines.items()}
    report = direct_report(choosers, stored[options.split], options.split)
    return _with_differences(report, f"{JOINT}, mean of seen", ["retriever", *baselines])


def _rating(part: Part, joint: TrainedModel, specialist: TrainedModel) -> Rows:
    valid = RatingCases.of(joint.split, "valid")
    simple: dict[str, GlobalMean | ItemMean | RecentBiases | BiasedMF] = {
        "global mean": GlobalMean(),
        "item mean": ItemMean(),
        "recent biases": RecentBiases(),
        "biased MF": BiasedMF(),
    }
    for baseline in simple.values():
        baseline.fit(joint.split, len(joint.rows))
    models: dict[str, RatingModel] = {}
    models |= _by_prompt(AskedRating.of, joint, specialist, "rating")
    models |= simple
    straight = f"{JOINT}, mean of seen", f"{SPECIALIST}, mean of seen", "biased MF"
    models |= {f"{key}, calibrated": Calibrated.of(models[key], valid) for key in straight}
    report = rating_report(models, RatingCases.of(joint.split, part), part)
    rows = report.models
    for main, others in _pairs(rows, f"{JOINT}, mean of seen", list(simple)):
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
    partners = {key: key.replace(JOINT, SPECIALIST) for key in rows if key.endswith(COMPARED)}
    same = [(key, [other]) for key, other in partners.items() if key != other and other in rows]
    return [(main, others), *same]


def _block(
    options: argparse.Namespace, name: str, seed: int, tables: Mapping[str, Rows], leaks: str
) -> str:
    given = ["--joint", options.joint] if options.joint else []
    lines = [
        f"\n### {name}, tasks together, {options.split}\n",
        f"    python benchmarks/tasks.py --sets {name} --seeds {seed} --split {options.split} "
        f"{shlex.join([*given, *options.overrides])}".rstrip(),
        f"    {commit()}; {machine()}\n",
        "One model is trained with all tasks, a specialist with the one of its table; both have "
        "the same retriever. 95 % bootstrap intervals over users; differences paired. Weights, "
        "calibration and the baselines' settings are fitted on validation. The decoder is taught "
        f"what to add to the retriever: alone it is no ranking. Leakage: {leaks}.\n",
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
