"""Interactions that come after a training change histories as a joined log would."""

import os
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p5mm.data.interactions import Interactions
from p5mm.errors import InputError
from p5mm.serving.folder import read_model, write_model
from p5mm.serving.recommender import Recommender
from p5mm.serving.upkeep.deletion import delete_from_model
from p5mm.serving.upkeep.status import model_status
from p5mm.serving.upkeep.update import update_model, with_interactions

COLUMNS = ("user_id", "item_id", "timestamp", "rating")


@pytest.fixture
def folder(toy, tmp_path):
    write_model(toy, tmp_path / "model")
    return tmp_path / "model"


def table(rows, columns=COLUMNS):
    return pa.Table.from_pylist([dict(zip(columns, row, strict=True)) for row in rows])


def file(folder, rows, columns=COLUMNS):
    path = folder.parent / "new.parquet"
    pq.write_table(table(rows, columns), path)
    return path


def test_a_model_with_a_joined_log_recommends_the_same(toy, folder):
    new = [("u0", "r1s3", 20, 5.0), ("u0", "cold", 21, 2.0), ("eve", "r2s2", 3, 4.0)]
    done = update_model(folder, file(folder, new))
    assert (done.joined, done.known, done.unknown, done.users) == (3, 0, 0, 1)
    updated = Recommender(read_model(folder))
    log = Interactions.from_table(
        pa.concat_tables([toy.log.table, table(new)], promote_options="permissive")
    )
    oracle = Recommender(replace(toy, log=log))
    told = updated.recommend(k=20)
    assert told.equals(oracle.recommend(k=20))
    before = Recommender(toy).recommend(["u0"], k=20)
    assert not updated.recommend(["u0"], k=20).equals(before)
    assert updated.recommend(["u7"], k=20).equals(Recommender(toy).recommend(["u7"], k=20))
    assert updated.model.user_ids[-1] == "eve"


@settings(max_examples=60)
@given(
    rows=st.lists(
        st.tuples(
            st.sampled_from(["u0", "u1", "eve"]),
            st.sampled_from(["r0s0", "r1s1", "r2s2", "strange"]),
            st.integers(-3, 15),
        ),
        min_size=1,
        max_size=12,
    ),
    cut=st.integers(0, 12),
)
def test_histories_are_those_of_the_joined_log_however_it_comes(toy, rows, cut):
    columns = COLUMNS[:3]
    model = toy
    for part in (rows[:cut], rows[cut:]):
        if part:
            model, done = with_interactions(model, table(part, columns), "x")
            assert done.joined + done.known == len(part)
            assert done.unknown <= done.joined
    log = Interactions.from_table(
        pa.concat_tables([toy.log.table, table(rows, columns)], promote_options="permissive")
    )
    names, histories = log.known(toy.catalog.item_ids).histories(toy.catalog.item_ids)
    assert model.user_ids == names
    for one, other in zip(model.histories, histories, strict=True):
        assert one.tolist() == other.tolist()
    again, done = with_interactions(model, table(rows, columns), "x")
    assert (done.joined, done.known) == (0, len(rows))
    assert again.later.table.equals(model.later.table)


def test_the_same_file_again_joins_nothing_and_writes_nothing(folder):
    new = file(folder, [("u0", "r1s3", 20, 5.0), ("u0", "zzz", 21, 2.0)])
    weights = os.stat(folder / "model.safetensors")
    done = update_model(folder, new)
    assert (done.joined, done.unknown) == (2, 1)
    assert "1 with items that are not in the model" in str(done)
    assert os.path.samestat(weights, os.stat(folder / "model.safetensors"))
    inode = os.stat(folder).st_ino
    assert (update_model(folder, new).joined, update_model(folder, new).known) == (0, 2)
    assert os.stat(folder).st_ino == inode
    assert model_status(folder)["since"]["later"] == 2
    model = read_model(folder)
    assert model.split.log.items.tolist() == model.as_trained.split.log.items.tolist()
    delete_from_model(folder, ["r1s3"])
    again = read_model(folder)
    assert "r1s3" in again.deleted
    assert again.catalog.rows["r1s3"] in again.histories[again.user_rows["u0"]].tolist()


def test_an_item_that_is_added_later_joins_the_histories(folder):
    from p5mm.data.catalog import Catalog
    from p5mm.serving.upkeep.addition import add_to_model

    update_model(folder, file(folder, [("u0", "late", 20, 5.0)]))
    add_to_model(
        folder, Catalog.from_table(pa.table({"item_id": ["late"], "title": ["ring0 step4"]}))
    )
    model = read_model(folder)
    assert model.histories[0].tolist()[-1] == model.catalog.rows["late"] == 41


def test_a_log_without_times_goes_on_in_the_order_of_the_rows(toy):
    places = Interactions.from_table(toy.log.table.drop_columns(["timestamp"]))
    model = replace(toy, log=places)
    for item in ("r3s9", "r2s1"):
        model, done = with_interactions(model, table([("u0", item)], COLUMNS[:2]), "x")
        assert done.joined == 1
    ids = model.catalog.item_ids
    assert [ids[row] for row in model.histories[0].tolist()[-2:]] == ["r3s9", "r2s1"]
    model, done = with_interactions(model, table([("u0", "r3s9")], COLUMNS[:2]), "x")
    assert (done.joined, done.known) == (0, 1)


def in_line(log):
    return Interactions(log.table.set_column(2, "timestamp", pa.array(log._places_in_line)))


@pytest.mark.parametrize("form", ["rows", "lines", "none"])
def test_a_log_without_times_has_none_whatever_joins_it(toy, form):
    rows = Interactions.from_table(toy.log.table.drop_columns(["timestamp"]))
    log = {"rows": rows, "lines": in_line(rows), "none": Interactions.empty()}[form]
    assert not log.has_clock
    model = replace(toy, log=log)
    for new in (["r0s0", "r2s9"], ["r2s9", "r3s9", "r1s1"]):  # repeats among them
        events = [("stranger", new[0]), *(("u0", item) for item in new)]
        model, _ = with_interactions(model, table(events, COLUMNS[:2]), "x")
        assert not model.taken.has_clock
        assert not model.later.has_clock or len(log)
    order = model.taken.table.filter(pc.equal(model.taken.table["user_id"], "u0"))
    assert order["item_id"].to_pylist()[-3:] == ["r2s9", "r3s9", "r1s1"]


def test_a_log_with_times_wants_times(toy):
    rng = np.random.default_rng(0)
    times = pa.array(rng.uniform(1e9, 2e9, toy.log.table.num_rows))
    timed = Interactions.from_table(toy.log.table.set_column(2, "timestamp", times))
    with pytest.raises(InputError, match=r"no column 'timestamp', and the model's log has times"):
        with_interactions(replace(toy, log=timed), table([("u0", "r1s1")], COLUMNS[:2]), "x")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.drop_columns(["user_id"]), "no column 'user_id'"),
        (lambda t: t.slice(0, 0), "is empty"),
        (lambda t: t.set_column(2, "timestamp", pa.array(["soon"])), "timestamp"),
        (lambda t: t.set_column(3, "rating", pa.array(["good"])), "rating"),
        (lambda t: t.set_column(1, "item_id", pa.array([[1]])), "ids are strings or integers"),
    ],
)
def test_a_table_that_is_no_log(folder, change, message):
    path = file(folder, [("u0", "r1s1", 20, 5.0)])
    pq.write_table(change(pq.read_table(path)), path)
    inode = os.stat(folder).st_ino
    with pytest.raises(InputError, match=message):
        update_model(folder, path)
    assert os.stat(folder).st_ino == inode


def test_later_interactions_from_a_stranger(folder):
    update_model(folder, file(folder, [("u0", "r1s3", 20, 5.0)]))
    path = folder / "later.parquet"
    whole = path.read_bytes()
    for content in (b"PAR1", whole[: len(whole) // 2], None):
        path.unlink()
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(InputError, match=r"later\.parquet"):
            read_model(folder)
        path.write_bytes(whole)
    pq.write_table(pa.concat_tables([pq.read_table(path)] * 2), path)
    with pytest.raises(InputError, match=r"later\.parquet: it holds 2 interactions, not 1"):
        read_model(folder)
