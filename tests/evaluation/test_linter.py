"""The linter on a trained model, and what its report says."""

import copy
import json
from dataclasses import replace

import numpy as np
import pytest

from p5mm.commands.main import main
from p5mm.data.interactions import Interactions
from p5mm.data.split import LeaveOneOut
from p5mm.errors import LeakageError
from p5mm.evaluation.evaluate import evaluate, fit_baselines
from p5mm.evaluation.linter import model as honesty
from p5mm.evaluation.linter.finding import Finding
from p5mm.evaluation.linter.model import model_findings, ranker_findings
from p5mm.evaluation.model_report import evaluate_model
from p5mm.metrics.intervals import paired
from p5mm.ranking.similarity import cooccurrence, cosine_neighbours
from p5mm.serving.recommender import Recommender
from p5mm.training.fit import fit

SIMPLE = ("item-knn", "popularity")


def test_an_honest_model_says_so_in_its_report(fitted):
    report = evaluate_model(fitted, "test", None, ["popularity"])
    protocol = json.loads(json.dumps(report.to_json()))["protocol"]
    assert protocol["leakage"] == "none found"
    assert protocol["equal times"] == "in the order of the log"
    assert protocol["last two at one time"] is None  # times are places
    assert protocol["ties"] == "expected rank"


def test_a_model_that_was_trained_on_everything_is_refused(fitted):
    longer = Interactions.from_rows([*fitted_rows(fitted), ("u0", "cold", 99)])
    network = copy.deepcopy(fitted.network)
    known = replace(fitted.fitted, items=tuple(sorted({*fitted.fitted.items, "cold"})))
    model = replace(fitted, log=longer, network=network, fitted=known)
    network.items.trained[model.rows] = True
    with pytest.raises(LeakageError, match="has learned 1 items that no training history holds"):
        evaluate_model(model, "test", None, [])


def test_neighbours_of_the_whole_log_are_refused(fitted, tmp_path, capsys):
    assert model_findings(fitted) == []
    whole = cosine_neighbours(cooccurrence(fitted.histories, len(fitted.catalog)), 300)
    more = (whole > 0).nnz - (fitted.neighbours > 0).nnz
    assert more > 0
    leaky = replace(fitted, neighbours=whole)
    with pytest.raises(LeakageError, match=f"has {more} neighbours that no training history"):
        model_findings(leaky)
    Recommender(leaky).save(tmp_path / "leaky")
    assert main(["evaluate", str(tmp_path / "leaky")]) == 2
    err = capsys.readouterr().err
    assert "p5mm: the evaluation would not be honest\nleak: the model has" in err


def test_numbers_in_a_test_order_are_a_warning_in_the_report(fitted, capsys, monkeypatch):
    warned = Finding("warning", "odd", "one", "look")
    monkeypatch.setattr(honesty, "lint", lambda *_: [warned])
    report = evaluate_model(fitted, "valid", None, [])
    assert report.protocol["leakage"] == ["warning: odd (one); look"]
    assert "warning: odd (one); look" in capsys.readouterr().err


def test_a_ranker_of_ties_is_a_warning_and_others_are_not(fitted):
    class Flat:
        def scores(self, histories):
            return np.zeros((len(histories), len(fitted.rows)), np.float32)

    cases = fitted.split.cases("test")
    first = cases.take(np.flatnonzero(cases.targets < 5))
    found = ranker_findings({"flat": Flat(), "p5mm": fitted.scorer.among(fitted.rows)}, first, 0)
    assert found
    assert all(one.level == "warning" and "'flat' gives many" in one.what for one in found)


def test_item_numbers_move_no_metric_beyond_its_interval(toys, fitted):
    """Trained twice: the second time every item has another id, number and row."""
    other = fit(toys.toy_dataset().renumbered(8), toys.toy_config())
    assert other.split.log.items.tolist() != fitted.split.log.items.tolist()
    one, two = (evaluate_model(model, "test", None, SIMPLE) for model in (fitted, other))
    for metric in ("recall@5", "ndcg@5", "ndcg@10"):
        for name in ("popularity", "item-knn"):
            np.testing.assert_allclose(two.per_user[name][metric], one.per_user[name][metric])
        moved = paired(two.per_user["p5mm"][metric], one.per_user["p5mm"][metric])
        assert moved.low <= 0 <= moved.high
        plain = one.models["p5mm"][metric]
        assert plain.low <= two.models["p5mm"][metric].value <= plain.high


@pytest.mark.parametrize("seed", range(3))
def test_item_numbers_move_no_simple_baseline_at_all(toys, seed):
    """Popularity and item-kNN give each user the same ranks, ties at their expected rank."""
    found = []
    for dataset in (toys.toy_dataset(), toys.toy_dataset().renumbered(seed)):
        items = sorted(set(dataset.log.item_ids))
        split = LeaveOneOut(dataset.log.histories(items)[1])
        rankers = fit_baselines(split, len(items), names=SIMPLE)
        found.append(evaluate(rankers, split.cases("test"), len(items)).per_user)
    for name in SIMPLE:
        for metric, values in found[0][name].items():
            np.testing.assert_allclose(found[1][name][metric], values, err_msg=f"{name} {metric}")


def fitted_rows(model):
    table = model.log.table.select(["user_id", "item_id", "timestamp"])
    return [tuple(row.values()) for row in table.to_pylist()]
