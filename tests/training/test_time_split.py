"""A model trained before one time and tested after another: trained, saved, read, evaluated."""

from dataclasses import replace

import numpy as np
import pytest

from p5mm.data.dataset import Dataset
from p5mm.data.interactions import Interactions
from p5mm.data.split import TimeSplit
from p5mm.encoders.store import FeatureStore
from p5mm.errors import InputError, LeakageError
from p5mm.evaluation.model_report import evaluate_model
from p5mm.evaluation.page import evaluation_page
from p5mm.serving.folder import read_model, write_model
from p5mm.training.fit import fit
from p5mm.training.training_data import TrainingData

LATE = 1000  # when the last users come


@pytest.fixture(scope="module")
def shop(toys):
    """The toy shop; users come one after the other, the last of them after everybody else."""
    moved = [
        (user, item, (LATE if user in ("u78", "u79") else 2 * int(user[1:])) + 9 * time, rating)
        for user, item, time, rating in toys.toy_rows()
    ]
    log = Interactions.from_rows(moved)
    return Dataset(toys.toy_catalog(), log, log)


@pytest.fixture(scope="module")
def model(toys, shop):
    config = toys.toy_config(epochs=2)
    config = replace(config, data=replace(config.data, split="time"))
    return fit(shop, config, FeatureStore())


def test_nothing_after_the_time_is_trained_on(model, shop):
    split = model.split
    assert isinstance(split, TimeSplit)
    times = shop.log.table["timestamp"].to_numpy()
    assert len(split.train.items) == np.count_nonzero(times < split.valid_from)
    late = [model.split_users.index(user) for user in ("u78", "u79")]
    assert split.train.lengths[late].tolist() == [0, 0]
    pairs = model.counts.together[model.rows][:, model.rows].toarray() > 0
    taken = np.zeros((len(split.train), len(model.rows)))
    taken[np.repeat(np.arange(len(split.train)), split.train.lengths), split.train.items] = 1
    assert not (pairs > (taken.T @ taken > 0)).any()


def test_a_saved_model_remembers_its_split(model, tmp_path):
    write_model(model, tmp_path / "model")
    again = read_model(tmp_path / "model")
    assert again.config.data.split == "time"
    assert again.split.told == model.split.told
    for part in ("valid", "test"):
        ours, theirs = model.split.cases(part), again.split.cases(part)
        np.testing.assert_array_equal(ours.targets, theirs.targets)
        np.testing.assert_array_equal(ours.histories.items, theirs.histories.items)
    report = evaluate_model(again, "test", None, ["item-knn", "popularity"])
    assert report.protocol["leakage"] == "none found"
    assert "global time split" in report.protocol["held out"]
    assert report.protocol["tested from"] == model.split.test_from
    assert "last two at one time" not in report.protocol
    for task in report.tasks.values():
        assert task.protocol["held out"] == report.protocol["held out"]
    assert "global time split" in report.table(200)
    assert "the first item of the last part of the time was hidden" in evaluation_page(
        report, again
    )


@pytest.mark.parametrize("trained", ["leave-one-out", "time"])
def test_a_model_that_is_evaluated_by_the_other_split_is_refused(toys, shop, model, trained):
    if trained == "leave-one-out":
        model = fit(shop, toys.toy_config(epochs=1, tasks={}), FeatureStore())
    other = {"time": "leave-one-out", "leave-one-out": "time"}[trained]
    data = replace(model.config.data, split=other)
    with pytest.raises(LeakageError, match="its training part has other"):
        evaluate_model(replace(model, config=replace(model.config, data=data)), "test", None, [])


def test_a_log_without_times_is_refused(toys):
    with pytest.raises(InputError, match=r"the log has no times.*--data.split leave-one-out"):
        TrainingData.of(toys.toy_dataset(), "time")  # its times are places
