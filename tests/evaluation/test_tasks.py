"""What a model's report says of the tasks that it was trained on beside the sequential one."""

import json
import logging
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pyarrow.parquet as pq
import pytest

from p5mm.baselines.biased_mf import BiasedMF
from p5mm.errors import InputError
from p5mm.evaluation.direct import Asked, Picked, direct_report, fit_weight
from p5mm.evaluation.evaluate import fit_baselines
from p5mm.evaluation.model_report import evaluate_model
from p5mm.evaluation.ratings import AskedRating
from p5mm.evaluation.stored_candidates import StoredCandidates, most_candidates
from p5mm.metrics.intervals import paired
from p5mm.metrics.rating_errors import RatingCases, rmse

BASELINES = ["item-knn", "popularity"]


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def report(fitted, cache):
    return evaluate_model(fitted, "test", cache, BASELINES)


def with_tasks(model, tasks):
    return replace(model, config=replace(model.config, train=replace(model.config.train, **tasks)))


def test_json_has_both_tasks_in_the_shape_of_the_main_table(report):
    written = json.loads(json.dumps(report.to_json()))
    assert list(written["tasks"]) == ["direct", "rating"]
    for family, metrics in (
        (
            "direct",
            {f"{name}@{k}" for name in ("hit", "recall", "ndcg") for k in (1, 5, 10)} | {"mrr"},
        ),
        ("rating", {"rmse", "mae"}),
    ):
        task = written["tasks"][family]
        assert list(task) == ["protocol", "models", "differences"]
        assert task["protocol"]["split"] == "test"
        assert task["protocol"]["users"] == 80
        others = [name for name in task["models"] if name != "p5mm"]
        assert list(task["differences"]) == [f"p5mm - {name}" for name in others]
        for of in [*task["models"].values(), *task["differences"].values()]:
            assert metrics == set(of)
            for mean in of.values():
                assert list(mean) == ["value", "low", "high"]
                assert mean["low"] <= mean["value"] <= mean["high"]
    assert list(written["tasks"]["direct"]["models"]) == [
        "p5mm", "p5mm, held-out", "similarities", "retriever", *BASELINES
    ]  # fmt: skip
    assert list(written["tasks"]["rating"]["models"]) == [
        "p5mm", "p5mm, held-out", "global mean", "item mean", "recent biases", "biased MF"
    ]  # fmt: skip


def test_direct_is_what_is_measured_by_hand(fitted, report):
    seed, questions = fitted.config.train.seed, fitted.questions("direct")
    count = most_candidates(fitted)
    items = len(fitted.rows)
    valid, test = (
        StoredCandidates.draw(fitted.split, part, items, seed, count) for part in ("valid", "test")
    )
    weight = fit_weight(fitted, questions, valid)
    choosers = {
        "p5mm": Asked.of(fitted, questions[:3], weight),
        "p5mm, held-out": Asked.of(fitted, questions[3:], weight),
        "similarities": Picked(
            fitted.scorer.weighing(fitted.fitted.similarities).among(fitted.rows)
        ),
        "retriever": Picked(fitted.scorer.alone().among(fitted.rows)),
    }
    choosers |= {
        name: Picked(ranker)
        for name, ranker in fit_baselines(fitted.split, items, names=BASELINES).items()
    }
    by_hand = direct_report(choosers, test, "test", seed)
    task = report.tasks["direct"]
    assert task.protocol["decoder's weight"] == weight
    assert task.protocol["ranking"] == f"{count} stored candidates"
    for name, of in by_hand.models.items():
        for metric, mean in of.items():
            assert task.models[name][metric].to_json() == pytest.approx(mean.to_json())


def test_rating_is_what_is_measured_by_hand(fitted, report):
    cases = RatingCases.of(fitted.split, "test")
    questions = fitted.questions("rating")
    errors = {}
    for name, prompts in (("p5mm", questions[:3]), ("p5mm, held-out", questions[3:])):
        ratings = AskedRating.of(fitted, prompts).predict(cases.histories, cases.targets)
        mean = report.tasks["rating"].models[name]["rmse"].value
        assert mean == pytest.approx(rmse(ratings, cases.ratings))
        errors[name] = np.abs(ratings - cases.ratings)
    difference = report.tasks["rating"].differences["p5mm - p5mm, held-out"]["mae"]
    by_hand = paired(errors["p5mm"], errors["p5mm, held-out"], fitted.config.train.seed)
    assert difference.to_json() == pytest.approx(by_hand.to_json())
    assert report.tasks["rating"].lower_is_better


def test_candidates_and_factors_are_kept_and_used_again(fitted, report, cache, monkeypatch):
    kept = {"candidates-valid.parquet", "candidates-test.parquet", "biased-mf.safetensors"}
    assert kept <= {path.name for path in cache.iterdir()}
    before = {name: (cache / name).read_bytes() for name in kept}

    def refuse(*_):
        raise AssertionError("fitted again")

    monkeypatch.setattr(BiasedMF, "fit", refuse)
    monkeypatch.setattr(StoredCandidates, "draw", refuse)
    again = evaluate_model(fitted, "test", cache, BASELINES)
    assert again.to_json() == report.to_json()
    assert {name: (cache / name).read_bytes() for name in kept} == before
    rows = pq.read_table(cache / "candidates-test.parquet").to_pylist()
    assert len(rows) == 80
    assert all(row["target"] in row["candidates"] for row in rows)


def test_a_small_catalog_has_fewer_candidates(fitted):
    longest = int(fitted.split.log.lengths.max())
    assert most_candidates(fitted) == len(fitted.rows) - longest + 1 < 100


@pytest.mark.parametrize(
    ("tasks", "reported"),
    [
        ({"sequential": 0.5}, []),
        ({"sequential": 0.5, "direct": 0.1, "rating": 0.0}, ["direct"]),
        ({"direct": 0.0, "rating": 0.5}, ["rating"]),
        ({}, []),
    ],
)
def test_only_what_was_trained_is_reported(fitted, tasks, reported):
    model = with_tasks(fitted, {"tasks": tasks})
    report = evaluate_model(model, "valid", None, ["popularity"])
    assert list(report.tasks) == reported
    assert all(task.protocol["split"] == "valid" for task in report.tasks.values())


def test_a_missing_prompt_leaves_a_task_out_with_a_warning(fitted, caplog):
    prompts = tuple(p for p in fitted.prompts if not (p.family == "direct" and p.held_out))
    with caplog.at_level(logging.WARNING):
        report = evaluate_model(replace(fitted, prompts=prompts), "test", None, ["popularity"])
    assert list(report.tasks) == ["rating"]
    assert "leaves out the task 'direct'" in caplog.text
    assert "no held-out prompt of the family 'direct'" in caplog.text


def test_candidates_of_another_split_leave_the_task_out_with_a_warning(fitted, tmp_path, caplog):
    drawn = StoredCandidates.draw(fitted.split, "valid", len(fitted.rows), count=5)
    drawn.write(tmp_path / "candidates-test.parquet", fitted.split_users, fitted.fitted.items)
    with caplog.at_level(logging.WARNING):
        report = evaluate_model(fitted, "test", tmp_path, ["popularity"])
    assert list(report.tasks) == ["rating"]
    assert "candidates-test.parquet holds candidates of another split" in caplog.text


def test_who_took_everything_leaves_nothing_to_pick_from(fitted):
    model = SimpleNamespace(split=fitted.split, fitted=SimpleNamespace(items=["a"]))
    with pytest.raises(InputError, match="took every item"):
        most_candidates(model)


@pytest.mark.parametrize("width", [80, 200])
def test_the_tables_of_the_tasks_stand_below_and_fit(report, width):
    lines = report.table(width).split("\n")
    assert max(map(len, lines)) <= width
    count = report.tasks["direct"].protocol["ranking"].split()[0]
    at = lines.index(f"direct, {count} stored candidates, 80 users")
    assert lines[at + 1].split()[:3] == ["model", "hit@1", "ndcg@10"]
    below = lines.index("rating, 80 users")
    assert lines[below + 1].split() == ["model", "rmse", "mae"]
    mean = report.tasks["rating"].models["p5mm"]["rmse"]
    assert f"{mean.value:.4f} [{mean.low:.4f}, {mean.high:.4f}]" in lines[below + 3]


def test_a_folder_that_cannot_be_written_costs_only_the_cache(fitted, report, tmp_path, caplog):
    folder = tmp_path / "a file"
    folder.write_text("no folder")
    with caplog.at_level(logging.WARNING):
        again = evaluate_model(fitted, "test", folder, BASELINES)
    assert again.to_json() == report.to_json()
    for name in ("item-knn.safetensors", "biased-mf.safetensors", "candidates-test.parquet"):
        assert f"{folder / name} is not kept" in caplog.text
