"""The linter on a trained model, and what its report says."""

import copy
import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from p5mm.commands.main import main
from p5mm.data.catalog import Catalog
from p5mm.data.interactions import Interactions
from p5mm.data.split import LeaveOneOut
from p5mm.errors import LeakageError
from p5mm.evaluation.evaluate import evaluate, fit_baselines
from p5mm.evaluation.linter import model as linter
from p5mm.evaluation.linter.finding import Finding
from p5mm.evaluation.linter.model import model_findings, ranker_findings
from p5mm.evaluation.model_report import evaluate_model
from p5mm.evidence.similarity import cooccurrence, cosine_neighbours
from p5mm.metrics.intervals import paired
from p5mm.serving.folder import read_model
from p5mm.serving.recommender import Recommender
from p5mm.training.fit import fit

SIMPLE = ("item-knn", "popularity")


def test_a_model_without_leaks_says_so_in_its_report(fitted):
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
    with pytest.raises(LeakageError, match="has learned 1 item that no training history holds"):
        evaluate_model(model, "test", None, [])


def test_neighbours_of_the_whole_log_are_refused(fitted, tmp_path, capsys):
    assert model_findings(fitted) == []
    whole = cosine_neighbours(cooccurrence(fitted.histories, len(fitted.catalog)), 300)
    more = (whole > 0).nnz - (fitted.counts.together > 0).nnz
    assert more > 0
    leaky = replace(fitted, counts=replace(fitted.counts, together=whole))
    with pytest.raises(LeakageError, match=f"has {more} neighbours that no training history"):
        model_findings(leaky)
    Recommender(leaky).save(tmp_path / "leaky")
    assert main(["evaluate", str(tmp_path / "leaky")]) == 2
    err = capsys.readouterr().err
    assert "p5mm: the evaluation would not be honest\nleak: the model has" in err


def test_numbers_in_a_test_order_are_a_warning_in_the_report(fitted, capsys, monkeypatch):
    warned = Finding("warning", "odd", "one", "look")
    monkeypatch.setattr(linter, "numbering_findings", lambda *_: [warned])
    report = evaluate_model(fitted, "valid", None, [])
    assert report.protocol["leakage"] == ["warning: odd (one); look"]
    assert "warning: odd (one); look" in capsys.readouterr().err


def test_a_ranker_of_ties_is_a_warning_and_others_are_not(fitted):
    class Flat:
        def scores(self, histories):
            return np.zeros((len(histories), len(fitted.rows)), np.float32)

    cases = fitted.split.cases("test")
    first = cases.take(np.flatnonzero(cases.targets < 5))
    rankers = {"flat": Flat(), "p5mm": fitted.scorer.among(fitted.rows)}
    findings = ranker_findings(rankers, first, 0)
    assert len(findings) == 2  # one a metric
    for finding, metric in zip(findings, ("recall@10", "ndcg@10"), strict=True):
        assert finding.level == "warning"
        assert f"'flat' gives many items one score: {metric} is" in finding.what


def test_item_numbers_move_no_metric_beyond_its_interval(toys, fitted):
    """Trained twice: the second time every item has another id, number and row."""
    other = fit(toys.toy_dataset().renumbered(8), toys.toy_config())
    assert other.split.log.items.tolist() != fitted.split.log.items.tolist()
    first, second = (evaluate_model(model, "test", None, SIMPLE) for model in (fitted, other))
    for metric in ("recall@5", "ndcg@5", "ndcg@10"):
        for name in ("popularity", "item-knn"):
            np.testing.assert_allclose(second.per_user[name][metric], first.per_user[name][metric])
        moved = paired(second.per_user["p5mm"][metric], first.per_user["p5mm"][metric])
        assert moved.low <= 0 <= moved.high
        plain = first.models["p5mm"][metric]
        assert plain.low <= second.models["p5mm"][metric].value <= plain.high


@pytest.mark.parametrize("seed", range(3))
def test_item_numbers_move_no_simple_baseline_at_all(toys, seed):
    """Popularity and item-kNN give each user the same ranks, ties at their expected rank."""
    per_user = []
    for dataset in (toys.toy_dataset(), toys.toy_dataset().renumbered(seed)):
        items = sorted(set(dataset.log.item_ids))
        split = LeaveOneOut(dataset.log.histories(items)[1])
        rankers = fit_baselines(split, len(items), names=SIMPLE)
        per_user.append(evaluate(rankers, split.cases("test"), len(items)).per_user)
    for name in SIMPLE:
        for metric, values in per_user[0][name].items():
            np.testing.assert_allclose(
                per_user[1][name][metric], values, err_msg=f"{name} {metric}"
            )


def fitted_rows(model):
    table = model.log.table.select(["user_id", "item_id", "timestamp"])
    return [tuple(row.values()) for row in table.to_pylist()]


@pytest.fixture
def saved(fitted, tmp_path):
    """A model on disk, whose interactions a test may tamper with."""
    folder = tmp_path / "model"
    Recommender(fitted).save(folder)
    return folder


def tampered(folder, change):
    """Writes other interactions into a model's folder and evaluates it."""
    path = folder / "interactions.parquet"
    pq.write_table(change(pq.read_table(path)), path)
    return evaluate_model(read_model(folder), "test", None, [])


def test_a_saved_model_is_evaluated_with_its_own_log(saved):
    assert tampered(saved, lambda table: table).protocol["leakage"] == "none found"


def shuffled(table):
    """Who took what stays; the order of the file, and so that of the users, does not."""
    return table.take(np.random.default_rng(0).permutation(len(table)))


def appended(table):
    """Everybody takes one item more: what was tested is validated, and what was validated known."""
    (row,) = table.slice(0, 1).to_pylist()
    seen = {}
    for event in table.to_pylist():
        seen.setdefault(event["user_id"], set()).add(event["item_id"])
    items = sorted(set(table["item_id"].to_pylist()))
    more = [
        row | {"user_id": user, "timestamp": 99, "item_id": next(i for i in items if i not in took)}
        for user, took in seen.items()
    ]
    return pa.concat_tables([table, pa.Table.from_pylist(more, table.schema)])


def turned(table):
    """Everybody took the same items the other way round."""
    times = pc.multiply(table["timestamp"], -1).cast(table.schema.field("timestamp").type)
    return table.set_column(table.schema.get_field_index("timestamp"), "timestamp", times)


def without_last_events(table):
    """What was held out is gone: the validation items are those that were trained on last."""
    last = {event["user_id"]: event["timestamp"] for event in table.to_pylist()}
    keep = [event["timestamp"] < last[event["user_id"]] for event in table.to_pylist()]
    return table.filter(pa.array(keep))


def rated_otherwise(table):
    ratings = pa.array(np.full(len(table), 3.0, np.float32))
    return table.set_column(table.schema.get_field_index("rating"), "rating", ratings)


@pytest.mark.parametrize(
    "change", [appended, shuffled, turned, without_last_events, rated_otherwise]
)
def test_another_log_than_that_of_the_training_is_refused(saved, change):
    with pytest.raises(LeakageError, match="the log in the folder is not the one that was trained"):
        tampered(saved, change)


def test_the_command_refuses_a_log_that_was_tampered_with(saved, capsys):
    path = saved / "interactions.parquet"
    pq.write_table(appended(pq.read_table(path)), path)
    assert main(["evaluate", str(saved)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "the log in the folder is not the one that was trained on" in captured.err


def test_items_added_later_change_nothing(saved, toys):
    new = Catalog.from_table(toys.toy_catalog().table.slice(4, 1).set_column(0, "item_id", [["n"]]))
    grown = Recommender.load(saved).add_items(new).model
    report = evaluate_model(grown, "test", None, ["popularity"])
    assert report.protocol["leakage"] == "none found"
