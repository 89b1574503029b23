"""A model whose T5 generates its candidates: saved, read, grown, and refused where it is wrong."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from safetensors.numpy import load_file, save_file

from p5mm.config import RetrievalConfig
from p5mm.data.catalog import Catalog
from p5mm.encoders.store import FeatureStore
from p5mm.errors import InputError
from p5mm.retrieval import index as index_module
from p5mm.serving.recommender import Recommender
from p5mm.training.fit import fit


@pytest.fixture(scope="module")
def shop(toys):
    settings = RetrievalConfig(candidates=12, generate=True, code_levels=2, code_size=8)
    config = replace(toys.toy_config(tasks={}, epochs=3), retrieval=settings)
    return Recommender(fit(toys.toy_dataset(), config, FeatureStore()))


@pytest.fixture
def folder(shop, tmp_path):
    shop.save(tmp_path / "model")
    return tmp_path / "model"


def test_generated_without_any_index(shop, folder, monkeypatch):
    def refused(*_, **__):
        raise AssertionError("an index was made or read")

    monkeypatch.setattr(index_module, "import_faiss", refused)
    monkeypatch.setattr(index_module.VectorIndex, "build", refused)
    monkeypatch.setattr(index_module.VectorIndex, "load", refused)
    assert not (folder / "index").exists()
    again = Recommender.load(folder)
    users = again.model.user_ids[:5]
    told, expected = again.recommend(users, k=12), shop.recommend(users, k=12)
    assert told["item_id"].to_pylist() == expected["item_id"].to_pylist()
    taken = again.model.histories
    for row, user in enumerate(users):
        found = [item for u, item in zip(*map(pa.Array.to_pylist, columns(told)), strict=True)
                 if u == user]  # fmt: skip
        seen = {again.model.catalog.item_ids[item] for item in taken[row]}
        assert len(found) == len(set(found)) == 12
        assert not seen & set(found)


def columns(table):
    return [table[name].combine_chunks() for name in ("user_id", "item_id")]


def test_near_items_are_found_all_the_same(folder):
    again = Recommender.load(folder)
    near = again.similar_items(["r0s1"], 3)
    assert len(near) == 3


def test_codes_are_learned(shop):
    losses = [epoch["codes"] for epoch in shop.model.fitted.task_log]
    assert min(losses) < np.log(40)  # a guess among the 40 items


def test_a_new_item_gets_a_code_and_the_others_keep_theirs(shop, toys):
    new = pa.Table.from_pylist(
        [{"item_id": name, "title": "ring2 step3", "style": toys.style(2, 3)} for name in "ba"],
        schema=toys.SCHEMA,
    )
    grown = shop.add_items(Catalog.from_table(new), FeatureStore())
    old, codes = shop.model.network.codes.digits, grown.model.network.codes.digits
    np.testing.assert_array_equal(codes[: len(old)], old)
    assert (codes[len(old) :] >= 0).all()
    assert len(np.unique(codes.numpy(), axis=0)) == len(codes)
    found = grown.recommend(shop.model.user_ids[:5], k=43)["item_id"].to_pylist()
    assert {"a", "b"} <= set(found)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a.pop("codes.books"), "'codes.books' is missing"),
        (lambda a: a.pop("codes.digits"), "'codes.digits' is missing"),
        (lambda a: a.pop("codes.turn.weight"), "'codes.turn.weight' is missing"),
        (lambda a: [a.pop(name) for name in list(a) if "codes" in name], "has no codes"),
        (lambda a: a.update({"codes.more": a["codes.bias"]}), "unknown array 'codes.more'"),
        (lambda a: a.update({"codes.books": a["codes.books"][..., :5].copy()}), "must be"),
        (lambda a: a.update({"codes.books": a["codes.books"][:1].copy()}), "must be"),
        (lambda a: a.update({"codes.books": a["codes.books"].astype(np.float64)}), "float64"),
        (lambda a: a["codes.books"].fill(np.nan), "finite"),
        (lambda a: a["codes.bias"].fill(np.inf), "finite"),
        (lambda a: a.update({"codes.bias": a["codes.bias"][:, :3].copy()}), "must be"),
        (lambda a: a.update({"codes.digits": a["codes.digits"][:-1].copy()}), "must be"),
        (lambda a: a.update({"codes.digits": a["codes.digits"].astype(np.float32)}), "float32"),
        (lambda a: a["codes.digits"].__setitem__((0, 0), 8), "-1 to 7"),
        (lambda a: a["codes.digits"].__setitem__((0, 2), 10**12), "the last of"),
        (lambda a: a["codes.digits"].__setitem__((0, 1), -2), "-2"),
        (lambda a: a["codes.digits"].__setitem__((0, 1), -1), "something is known"),
        (lambda a: a["codes.digits"].__setitem__(1, a["codes.digits"][0]), "the same code"),
    ],
)
def test_codes_from_a_stranger(folder, change, message):
    arrays = {name: array.copy() for name, array in load_file(folder / "model.safetensors").items()}
    change(arrays)
    save_file(arrays, folder / "model.safetensors")
    with pytest.raises(InputError, match=message) as caught:
        Recommender.load(folder)
    assert "model.safetensors" in str(caught.value)


def test_a_model_without_codes_generates_nothing(fitted):
    retrieval = replace(fitted.config.retrieval, generate=True)
    model = replace(fitted, config=replace(fitted.config, retrieval=retrieval))
    with pytest.raises(InputError, match=r"--retrieval\.generate true"):
        _ = model.scorer
