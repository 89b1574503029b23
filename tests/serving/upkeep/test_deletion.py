"""A deleted item is never served, whoever asks and however; what was learned of it stays."""

import os
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from p5mm.config import RetrievalConfig
from p5mm.data.histories import Histories
from p5mm.encoders.store import FeatureStore
from p5mm.errors import InputError
from p5mm.serving.folder import read_model, write_model
from p5mm.serving.limits import Limits
from p5mm.serving.recommender import Recommender
from p5mm.serving.since import PLAIN_FORMAT, SINCE_FORMAT
from p5mm.serving.upkeep.deletion import delete_from_model, without_items
from p5mm.serving.upkeep.status import model_status
from p5mm.training.fit import fit

ALL = [f"r{ring}s{step}" for ring in range(4) for step in range(10)] + ["cold"]


@pytest.fixture(scope="module")
def generating(toys):
    retrieval = RetrievalConfig(candidates=12, generate=True, code_levels=2, code_size=8)
    config = replace(toys.toy_config(tasks={}, epochs=1), retrieval=retrieval)
    return fit(toys.toy_dataset(), config, FeatureStore())


@pytest.fixture(scope="module")
def likeness(toy):
    return replace(toy, fitted=replace(toy.fitted, likeness=True), saved_index=None)


@pytest.fixture
def folder(toy, tmp_path):
    write_model(toy, tmp_path / "model")
    return tmp_path / "model"


def shown(recommender, history, gone):
    """Every item that a model serves, in every way that it does."""
    allow = list(dict.fromkeys([*sorted(gone)[:3], "r0s0", "r1s1", "r2s2", "r3s3"]))
    ask = recommender.recommend
    tables = [
        ask(k=100),
        ask(histories=[history], k=100),
        ask(histories=[history], k=100, filter_seen=False),
        ask(histories=[[]], k=100),
        ask(histories=[history], k=9, limits=Limits(deny=["r0s9"]), strict=False),
        ask(histories=[history], limits=Limits(where="title != 'x'"), k=100),
        ask(["a"], histories=[history], limits=Limits(allow_each={"a": allow}), strict=False),
        ask(pa.table({"user_id": ["a"], "history": [history], "allow": [allow]}), strict=False),
        recommender.live(history).append("r2s0").recommend(k=100),
        recommender.live([]).recommend(k=100, filter_seen=False),
        recommender.similar_items([next(item for item in ALL if item not in gone)], k=100),
    ]
    if set(allow) - set(gone):
        tables.append(ask(histories=[history], limits=Limits(allow=allow), strict=False))
    return {item for table in tables for item in table["item_id"].to_pylist()}


@settings(max_examples=4)
@given(data=st.data())
@pytest.mark.parametrize("kind", ["toy", "generating", "likeness"])
def test_a_deleted_item_is_never_served(kind, data, request):
    model = request.getfixturevalue(kind)
    gone = data.draw(st.sets(st.sampled_from(ALL), min_size=1, max_size=len(ALL) - 6))
    history = data.draw(st.lists(st.sampled_from(ALL), max_size=9))
    recommender = Recommender(without_items(model, sorted(gone)))
    served = shown(recommender, history, gone)
    assert served
    assert not served & gone
    pairs = pa.table({"history": [history] * 2, "item_id": [min(gone), min(set(ALL) - gone)]})
    assert recommender.score(pairs, strict=False)["score"].is_null().to_pylist() == [True, False]
    for refused in (
        lambda: recommender.score(pairs),
        lambda: recommender.explain(min(gone), history=history),
        lambda: recommender.similar_items([min(gone)]),
        lambda: recommender.recommend(histories=[[]], limits=Limits(allow=[min(gone)])),
    ):
        with pytest.raises(InputError, match="unknown item"):
            refused()


def test_others_are_scored_as_before(toy):
    pairs = pa.table({"user_id": ["u0", "u1", "u2"], "item_id": ["r0s1", "r1s2", "r3s3"]})
    gone = without_items(toy, ["r0s0", "r2s5"])
    before, after = (Recommender(of).score(pairs)["score"] for of in (toy, gone))
    assert before.equals(after)
    assert np.array_equal(gone.histories.items, toy.histories.items)


def test_nothing_may_be_recommended_of_what_is_deleted(toy):
    gone = Recommender(without_items(toy, ["r0s0"]))
    with pytest.raises(InputError, match="leave no item"):
        gone.recommend(limits=Limits(where="title == 'ring0 step0'"))
    told = gone.recommend(limits=Limits(allow=["r0s0", "r0s1"]), strict=False)
    assert set(told["item_id"].to_pylist()) == {"r0s1"}


def test_an_export_serves_no_deleted_item(toy, tmp_path):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    from p5mm.portable.export import write_export
    from p5mm.portable.recommender import PortableRecommender

    gone = ["r0s0", "r2s5", "cold"]
    kept = Recommender(without_items(toy, gone))
    for int8 in (False, True):
        write_export(kept.model, tmp_path / "out", int8)
        exported = PortableRecommender.load(tmp_path / "out")
        told = exported.recommend(k=100, filter_seen=False)
        assert not set(told["item_id"].to_pylist()) & set(gone)
        allowed = Limits(allow_each={"u0": gone})
        assert not exported.recommend(["u0"], limits=allowed, strict=False).num_rows
        if not int8:
            assert told["item_id"].equals(kept.recommend(k=100, filter_seen=False)["item_id"])


def test_an_evaluation_is_of_the_model_as_it_was_trained(toy):
    gone = without_items(toy, ["r0s0"])
    assert gone.as_trained.scorer.findable.all()
    assert np.array_equal(gone.as_trained.split.log.items, toy.split.log.items)


def test_a_folder_forgets_at_once_and_writes_little(toy, folder):
    weights = os.stat(folder / "model.safetensors")
    (folder / "baselines").mkdir()
    (folder / "baselines" / "mine").write_text("kept")
    done = delete_from_model(folder, ["r0s1", "cold", "r0s1"])
    assert (done.deleted, done.unknown, done.left) == (2, (), 39)
    assert os.path.samestat(weights, os.stat(folder / "model.safetensors"))
    assert (folder / "baselines" / "mine").read_text() == "kept"
    again = read_model(folder)
    assert again.deleted == {"r0s1", "cold"}
    expected = Recommender(without_items(toy, ["r0s1", "cold"])).recommend(k=100)
    assert Recommender(again).recommend(k=100).equals(expected)
    assert model_status(folder)["since"] == {"added": 0, "deleted": 2, "later": 0}
    assert model_status(folder)["items"] == 39
    delete_from_model(folder, ["r3s3"])
    assert read_model(folder).deleted == {"r0s1", "cold", "r3s3"}
    Recommender(read_model(folder)).save(folder.parent / "saved")
    assert read_model(folder.parent / "saved").deleted == {"r0s1", "cold", "r3s3"}


def test_an_older_p5mm_reads_only_what_it_reads_rightly(folder):
    assert model_status(folder)["format"] == PLAIN_FORMAT
    delete_from_model(folder, ["r0s1"])
    assert model_status(folder)["format"] == SINCE_FORMAT


def test_what_is_unknown_is_told_and_nothing_is_written(folder):
    inode = os.stat(folder).st_ino
    with pytest.raises(InputError, match=r"1 of 2 ids are no items of the model, such as 'R0S1'"):
        delete_from_model(folder, ["r0s2", "R0S1"])
    done = delete_from_model(folder, ["R0S1"], strict=False)
    assert (done.deleted, done.unknown, done.left) == (0, ("R0S1",), 41)
    with pytest.raises(InputError, match="all 41 items of the model; delete its folder"):
        delete_from_model(folder, ALL)
    with pytest.raises(InputError, match="is one id"):
        delete_from_model(folder, "r0s1")
    with pytest.raises(InputError, match="no model folder"):
        delete_from_model(folder.parent / "nowhere", ["r0s1"])
    assert os.stat(folder).st_ino == inode
    delete_from_model(folder, ["r0s1"])
    with pytest.raises(InputError, match="no items of the model"):
        delete_from_model(folder, ["r0s1"])


@pytest.mark.parametrize("rows", [[3, 3], [5, 3], [-1, 3], [3, 41], [3.0, 5.0], [[3, 5]], [3]])
def test_deleted_rows_from_a_stranger(folder, rows):
    delete_from_model(folder, ["r0s3", "r0s5"])
    path = folder / "deleted.safetensors"
    assert load_file(path)["rows"].tolist() == [3, 5]
    save_file({"rows": np.array(rows)}, path)
    for read in (read_model, lambda folder: delete_from_model(folder, ["r0s1"])):
        with pytest.raises(InputError, match=r"deleted\.safetensors"):
            read(folder)
    path.unlink()
    with pytest.raises(InputError, match=r"deleted\.safetensors is missing"):
        read_model(folder)


@pytest.mark.parametrize(
    "since",
    [
        None, 3, {}, {"deleted": 1}, {"deleted": -1, "later": 0, "added": 0},
        {"deleted": 41, "later": 0, "added": 0}, {"deleted": 0, "later": 0, "added": 41},
        {"deleted": 0, "later": -1, "added": 0}, {"deleted": "1", "later": 0, "added": 0},
        {"deleted": 0, "later": 0, "added": 0, "more": 0},
    ],
)  # fmt: skip
def test_counts_from_a_stranger(folder, since):
    import json

    path = folder / "config.json"
    about = json.loads(path.read_text())
    path.write_text(json.dumps(about | {"since": since}))
    with pytest.raises(InputError, match=r"config\.json"):
        read_model(folder)


def test_the_scorer_itself_finds_no_deleted_item(toy):
    """Whatever lists it is given, and whatever it is narrowed to again."""
    scorer, row = without_items(toy, ["r0s0"]).scorer, toy.catalog.rows["r0s0"]
    asked = Histories.from_lists([[toy.catalog.rows["r0s9"]]])
    only = Histories.from_lists([[row, row + 1]])
    rows, _ = scorer.rank(asked, 5, None, only)
    assert row not in rows
    assert row + 1 in rows
    assert row not in scorer.within(np.arange(len(toy.catalog))).rank(asked, 50)[0]
    assert scorer.scores(asked)[0].argmin() == row


def test_what_is_deleted_may_stand_in_a_list_of_what_nobody_gets(toy):
    smaller = Recommender(toy).delete_items(["r0s5"])
    wanted = smaller.recommend(["u0", "u1"], k=5)
    for limits in (Limits(deny=["r0s5"]), Limits(deny_each={"u0": ["r0s5"]})):
        assert smaller.recommend(["u0", "u1"], k=5, limits=limits).equals(wanted)
    with pytest.raises(InputError, match="unknown item 'r0s5'"):
        smaller.recommend(["u0"], k=5, limits=Limits(allow=["r0s5", "r1s1"]))
