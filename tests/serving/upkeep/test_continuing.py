"""A training that goes on: one version of everything, and no more than was learned is claimed."""

import logging
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from p5mm.data.catalog import Catalog
from p5mm.data.dataset import Dataset
from p5mm.data.interactions import Interactions
from p5mm.encoders.store import FeatureStore
from p5mm.errors import InputError
from p5mm.evaluation.linter.finding import LeakageError
from p5mm.evaluation.linter.model import model_findings
from p5mm.evaluation.model_report import evaluate_model
from p5mm.evidence.counts import Counts
from p5mm.ranking.trained_model import TrainedModel
from p5mm.serving.folder import read_model, write_model
from p5mm.serving.recommender import Recommender
from p5mm.serving.upkeep.addition import with_items
from p5mm.serving.upkeep.continuing import continued
from p5mm.serving.upkeep.deletion import without_items
from p5mm.serving.upkeep.status import model_status
from p5mm.serving.upkeep.update import continue_model, update_model, with_interactions
from p5mm.training.fit import fit


@pytest.fixture(scope="module")
def early(toys) -> TrainedModel:
    """Trained on the beginnings of the shoppers' walks, which have four items."""
    log = Interactions.from_rows([row for row in toys.toy_rows() if row[2] < 4])
    config = toys.toy_config(tasks={"sequential": 0.5}, epochs=3)
    return fit(Dataset(toys.toy_catalog(), log, log), config, FeatureStore())


@pytest.fixture(scope="module")
def rest(toys):
    """What came after, and somebody who takes a new item each time."""
    rows = [row for row in toys.toy_rows() if row[2] >= 4]
    rows += [("eve", item, time, 4.0) for time, item in enumerate(["r2s2", "new", "r2s5", "r2s6"])]
    names = ("user_id", "item_id", "timestamp", "rating")
    return pa.table([list(column) for column in zip(*rows, strict=True)], names=names)


@pytest.fixture(scope="module")
def joined(early, rest, toys):
    row = {"item_id": ["new"], "title": ["ring2 step4"], "style": [toys.style(2, 4)]}
    grown, _ = with_items(early, Catalog.from_table(pa.table(row)), FeatureStore())
    return without_items(with_interactions(grown, rest, "rest")[0], ["r0s0"])


@pytest.fixture(scope="module")
def late(joined):
    return continued(joined, 2)


def test_everything_is_of_one_version(joined, late):
    assert len(late.later) == late.added == 0
    assert late.log.table.equals(joined.taken.table)
    assert late.deleted == {"r0s0"}
    assert late.config == joined.config
    learned = replace(late.split.train, items=late.rows[late.split.train.items])
    counts = Counts.of(learned, len(late.catalog), late.config.similarity.neighbours)
    assert abs(counts.together - late.counts.together).max() < 1e-6
    assert np.array_equal(counts.taken, late.counts.taken)
    assert late.network.items.trained[late.catalog.rows["new"]]
    assert model_findings(late.as_trained) is not None  # raises where something leaks
    assert "r0s0" not in set(Recommender(late).recommend(k=50)["item_id"].to_pylist())


def test_the_retriever_learns_on_and_the_decoder_stays(joined, late):
    before, after = joined.network.state_dict(), late.network.state_dict()
    moved = {name for name, weight in before.items() if not weight.equal(after[name])}
    kept = ("t5.decoder", "t5.shared", "rank_head", "reader")
    assert not [name for name in moved if name.startswith(kept)]
    assert any(name.startswith("t5.encoder") for name in moved)
    assert "items.residual.weight" in moved
    assert late.fitted.weights.keys() == joined.fitted.weights.keys()
    assert len(late.fitted.log) == 2


def test_what_was_given_is_not_changed(early, joined):
    assert early.network.items.trained.sum() == joined.network.items.trained.sum()
    assert not joined.network.items.trained[joined.catalog.rows["new"]]


def test_an_evaluation_says_what_has_become_of_the_model(early, joined, late, caplog):
    caplog.set_level(logging.INFO)
    later = len(joined.later)
    for model, told in (
        (joined, f"1 deleted item counts, {later} interactions that came later do not"),
        (late, "1 deleted item counts"),  # nothing has come since it learned on
        (early, None),
    ):
        caplog.clear()
        evaluate_model(model, "valid", None, ["popularity"])
        said = [line for line in caplog.messages if line.startswith("evaluated as it was trained")]
        assert said == ([] if told is None else [f"evaluated as it was trained: {told}"])


def test_it_learns_what_came(early, late, joined):
    cases = late.split.cases("valid")
    from p5mm.metrics.validation import validation_metrics

    def ndcg(model):
        ranker = model.as_trained.scorer.alone().among(late.rows)
        return validation_metrics(ranker, cases)["ndcg@10"]

    assert ndcg(late) > ndcg(joined)


def test_in_a_folder(early, rest, tmp_path):
    folder = tmp_path / "model"
    write_model(early, folder)
    (folder / "baselines").mkdir()
    pq.write_table(rest, tmp_path / "rest.parquet")
    update_model(folder, tmp_path / "rest.parquet")
    expected = Recommender(continued(read_model(folder), 1)).recommend(k=10)
    continue_model(folder, 1)
    assert model_status(folder)["since"] == {"deleted": 0, "later": 0, "added": 0}
    assert Recommender(read_model(folder)).recommend(k=10).equals(expected)
    assert (folder / "baselines").is_dir()
    assert not (folder / "later.parquet").exists()


def test_what_was_learned_before_is_not_asked_for(early, caplog):
    """Somebody with two items, both learned; what comes is dated before them."""
    rows = [("zoe", "r1s1", 10), ("zoe", "r1s2", 11)]
    log = early.log.joined(Interactions.from_rows([(*row, 3.0) for row in rows]))
    model = continued(replace(early, log=log), 1)
    table = pa.table({"user_id": ["zoe"], "item_id": ["r1s0"], "timestamp": [1]})
    again = continued(with_interactions(model, table, "x")[0], 1)
    assert "1 validation item was learned before" in caplog.text
    assert "1 item that a test would ask for was learned before" in caplog.text
    with pytest.raises(LeakageError):
        model_findings(again)


def test_a_decoder_that_reads_the_retriever_is_refused(toy, early):
    with pytest.raises(InputError, match="has learned rating of its retriever"):
        continued(toy, 1)
    generating = replace(early.config, retrieval=replace(early.config.retrieval, generate=True))
    with pytest.raises(InputError, match="has learned codes of its retriever"):
        continued(replace(early, config=generating), 1)
    nothing = replace(early.config, train=replace(early.config.train, epochs=0))
    with pytest.raises(InputError, match="first day, which has learned nothing"):
        continued(replace(early, config=nothing), 1)


def test_a_retriever_that_ranks_worse_is_left(joined, monkeypatch, caplog):
    from p5mm.training.fitting import Fitting

    worse = [{"epoch": 1, "ndcg@10": 0.0, "recall@10": 0.0, "loss": 1.0, "seconds": 1.0}]
    monkeypatch.setattr(Fitting, "retriever", lambda self: worse)
    kept = continued(joined, 1)
    assert "the retriever stays as it was" in caplog.text
    for name, weight in joined.network.state_dict().items():
        assert weight.equal(kept.network.state_dict()[name])
    assert kept.log.table.equals(joined.taken.table)
    assert model_findings(kept.as_trained) is not None
