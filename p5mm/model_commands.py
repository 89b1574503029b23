"""What ``p5mm train``, ``evaluate``, ``recommend`` and ``score`` do."""

import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pyarrow as pa
import pyarrow.parquet as pq

from p5mm.ablation import ablated_rankers
from p5mm.baselines.base import Ranker
from p5mm.config import read_config
from p5mm.dataset import open_dataset
from p5mm.errors import InputError
from p5mm.evaluation import BASELINES, MAIN, RETRIEVER, Report, evaluate, fit_baselines
from p5mm.honesty import model_findings, ranker_findings, told
from p5mm.model_folder import is_model
from p5mm.recommender import Recommender
from p5mm.split import Part
from p5mm.tables import read_table, require_columns

STDOUT = "-"


def train(
    config: str | Path, out: str | Path, data: str | None = None, overrides: Sequence[str] = ()
) -> Recommender:
    """Trains a model by a configuration; goes on where an interrupted training stopped.

    Raises:
        InputError: The configuration or the data cannot be used, or ``out`` holds something else.
    """
    folder = Path(out)
    _check_target(folder)
    settings = read_config(config, overrides)
    if data is not None:
        settings = replace(settings, data=replace(settings.data, root=data))
    start = time.perf_counter()
    dataset = open_dataset(settings.data)
    model = Recommender.fit(dataset, settings, checkpoint=folder / "checkpoint")
    model.save(folder)
    best = max(model.training_log, key=lambda epoch: epoch["ndcg@10"])
    _say(
        f"best epoch {best['epoch']:.0f} of {len(model.training_log)}: validation "
        f"recall@10 {best['recall@10']:.4f}, ndcg@10 {best['ndcg@10']:.4f} (retriever)",
        _told_weights(model),
        f"items never taken are handicapped by {model.fitted.handicap}",
        f"{folder}: done in {time.perf_counter() - start:.0f} s",
    )
    return model


def evaluate_model(
    folder: str | Path,
    split: Part = "test",
    report: str | Path | None = None,
    baselines: Sequence[str] = BASELINES,
    ablate: bool = False,
    html: str | Path | None = None,
    data: str | Path | None = None,
) -> Report:
    """Evaluates a model beside the baselines, which are fitted once and kept in its folder.

    Args:
        folder: The model.
        split: Which held-out items.
        report: JSON file to write; "-" is standard output.
        baselines: Registered names.
        ablate: Also rank with each modality absent, and with its vectors shuffled.
        html: Page to write; "-" is standard output.
        data: Folder of the data, for the page's pictures: a saved model keeps none.

    Raises:
        InputError: A file cannot be written, or the model or the data cannot be read; told
            before the evaluation begins.
        LeakageError: The model could see what it is asked for.
    """
    _check_outputs(report, html)
    if data is not None and html is None:
        raise InputError("--data gives the pictures of a page; name the page with --html FILE")
    page = None if html is None else _page_module()
    model = Recommender.load(folder)
    catalog = None if page is None else page.pictured_catalog(model, data)
    found = evaluation_of(model, split, Path(folder) / "baselines", baselines, ablate)
    if report is not None:
        _put(json.dumps(found.to_json(), indent=2) + "\n", report)
    if page is not None and html is not None:
        _put(page.evaluation_page(found, model, catalog), html)
    return found


def evaluation_of(
    model: Recommender,
    split: Part,
    cache: Path | None,
    baselines: Sequence[str] = BASELINES,
    ablate: bool = False,
) -> Report:
    """The report of a model in memory; warnings of the leakage linter go to standard error.

    Args:
        model: Trained.
        split: Which held-out items.
        cache: Folder of fitted baselines; None keeps none.
        baselines: Registered names.
        ablate: Also rank with each modality absent, and with its vectors shuffled.

    Raises:
        LeakageError: The model could see what it is asked for.
    """
    findings = model_findings(model)
    cases = model.split.cases(split)
    rankers: dict[str, Ranker] = {
        MAIN: model.scorer.among(model.rows),
        RETRIEVER: model.scorer.alone().among(model.rows),
    }
    seed = model.config.train.seed
    rankers |= fit_baselines(model.split, len(model.rows), cache, baselines, seed)
    findings += ranker_findings(rankers, cases, seed)
    _say(*map(str, findings))
    if ablate:
        rankers |= ablated_rankers(model)
    wanted = model.config.retrieval.candidates
    report = evaluate(rankers, cases, len(model.rows), seed=seed, split=split, candidates=wanted)
    return replace(report, protocol=report.protocol | told(model, findings))


def recommend(
    folder: str | Path, users: str, out: str | Path, k: int = 10, filter_seen: bool = True
) -> pa.Table:
    """Recommends for all users of the log, or for those of a file, and writes Parquet.

    Args:
        folder: The model.
        users: "all", or a table with ``user_id`` and perhaps ``history``, a list of item ids.
        out: Parquet file to write.
        k: Items a user.
        filter_seen: Leave out what the history holds.
    """
    target = _writable(Path(out))
    model = Recommender.load(folder)
    if users == "all":
        table = model.recommend(k=k, filter_seen=filter_seen, progress=True)
    else:
        asked = read_table(users)
        require_columns(asked, str(users), ["user_id"])
        names = [str(user) for user in asked["user_id"].to_pylist()]
        lists = None
        if "history" in asked.column_names:
            lists = [[str(i) for i in one or ()] for one in asked["history"].to_pylist()]
        table = model.recommend(names, histories=lists, k=k, filter_seen=filter_seen, progress=True)
    _write(table, target)
    return table


def score(folder: str | Path, pairs: str | Path, out: str | Path) -> pa.Table:
    """Scores pairs of a user (or a history) and an item, and writes Parquet in the same order."""
    target = _writable(Path(out))
    model = Recommender.load(folder)
    table = model.score(read_table(pairs), progress=True)
    _write(table, target)
    return table


def _check_target(folder: Path) -> None:
    if is_model(folder):
        raise InputError(f"{folder} holds a finished model; give another --out, or remove it")
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file; give a new folder as --out")
    if folder.is_dir() and any(path.name != "checkpoint" for path in folder.iterdir()):
        raise InputError(f"{folder} holds other files; give a new or empty folder as --out")


def _told_weights(model: Recommender) -> str:
    tried = model.fitted.tried
    weighed = ", ".join(f"{name} {weight:g}" for name, weight in model.fitted.weights.items())
    return (
        f"reranker: {weighed}; validation ndcg@10 {tried['all']:.4f} "
        f"({tried['retriever']:.4f} without)"
    )


def _writable(path: Path) -> Path:
    parent = path.absolute().parent
    if path.is_dir() or not parent.is_dir():
        raise InputError(f"{path} cannot be written: give a file in a folder that exists")
    if not os.access(parent, os.W_OK):
        raise InputError(f"{path} cannot be written: its folder may only be read; give another")
    return path


def _check_outputs(report: str | Path | None, html: str | Path | None) -> None:
    given = [str(path) for path in (report, html) if path is not None]
    for path in given:
        if path != STDOUT:
            _writable(Path(path))
    if len({path if path == STDOUT else str(Path(path).resolve()) for path in given}) < len(given):
        raise InputError(f"--json and --html are both {given[0]}; give each a file of its own")


def _page_module() -> ModuleType:
    """The module that makes pages; imported only when one is wanted."""
    try:
        from p5mm import evaluation_page
    except ModuleNotFoundError as error:
        if error.name not in ("jinja2", "markupsafe"):
            raise
        raise InputError(
            f"--html needs the package '{error.name}', which is not installed; "
            "type: pip install jinja2"
        ) from error
    return evaluation_page


def _put(text: str, path: str | Path) -> None:
    """Writes a whole file or nothing, or to standard output."""
    if str(path) == STDOUT:
        print(text, end="")
        return
    path = Path(path)
    part = path.with_name(path.name + ".part")
    try:
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _write(table: pa.Table, path: Path) -> None:
    part = path.with_name(path.name + ".part")
    pq.write_table(table, part)
    part.replace(path)
    _say(f"{path}: {table.num_rows} rows")


def _say(*lines: str) -> None:
    for line in lines:
        print(line, file=sys.stderr)
