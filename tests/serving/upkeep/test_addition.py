"""New items in a trained recommender: found by content, refused where they do not fit."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from p5mm.data.catalog import Catalog
from p5mm.encoders.base import Features
from p5mm.errors import InputError
from p5mm.indexing.catalog_index import CatalogIndex
from p5mm.serving.recommender import Recommender


@pytest.fixture(scope="module")
def newcomers(toys):
    rows = [
        {"item_id": "new 5", "title": "ring2 step5", "style": toys.style(2, 5)},
        {"item_id": "new 6", "title": "ring3 step6", "style": None},
    ]
    return Catalog.from_table(pa.Table.from_pylist(rows, schema=toys.SCHEMA))


def test_a_new_item_is_ranked_like_the_item_it_looks_like(plain, newcomers):
    grown = plain.add_items(newcomers)
    assert len(grown.model.catalog) == len(plain.model.catalog) + 2
    history = [f"r2s{step}" for step in range(5)]
    table = grown.recommend(histories=[history], k=3)
    assert "new 5" in table["item_id"].to_pylist()
    near = grown.similar_items(["new 5"], k=3)["item_id"].to_pylist()
    assert "r2s5" in near


def test_scores_of_known_items_stay(plain, newcomers):
    grown = plain.add_items(newcomers)
    pairs = pa.table({"user_id": ["u0", "u1", "u2"], "item_id": ["r0s1", "r1s2", "r3s3"]})
    before, after = plain.score(pairs)["score"], grown.score(pairs)["score"]
    np.testing.assert_allclose(before.to_numpy(), after.to_numpy(), atol=1e-5)


def test_a_grown_model_is_saved_and_loaded(plain, newcomers, tmp_path):
    grown = plain.add_items(newcomers)
    grown.save(tmp_path / "m")
    again = type(plain).load(tmp_path / "m")
    prior = grown.model.network.rating_prior
    assert len(prior.counts) == len(grown.model.catalog)
    assert not prior.counts[-2:].any()
    assert prior.counts[:-2].equal(plain.model.network.rating_prior.counts)
    for name, weight in prior.state_dict().items():
        assert weight.equal(again.model.network.rating_prior.state_dict()[name])
    history = [[f"r2s{step}" for step in range(5)]]
    assert again.recommend(histories=history).equals(grown.recommend(histories=history))


def test_items_known_already_are_refused(plain, toys):
    with pytest.raises(InputError, match="known already, such as 'cold'"):
        plain.add_items(toys.toy_catalog())


def test_an_index_made_by_other_encoders_is_refused(plain, newcomers):
    vectors = np.ones((2, 12), dtype=np.float32)
    other = Features("text", "other", "another fingerprint", vectors, np.ones(2, dtype=np.bool_))
    with pytest.raises(InputError, match="made by another encoder"):
        plain.add_items(CatalogIndex.build(newcomers, [other]))


def test_an_index_by_the_same_encoders_is_taken(plain, newcomers):
    raws = newcomers.raw("text")
    from p5mm.encoders.build import make_encoder

    encoder = make_encoder("toy", "text")
    vectors = encoder.encode([encoder.load(raw) for raw in raws])
    there = np.ones(2, dtype=np.bool_)
    same = Features("text", "toy", encoder.fingerprint, vectors, there)
    grown = plain.add_items(CatalogIndex.build(newcomers, [same]))
    assert grown.model.catalog.item_ids[-2:] == ["new 5", "new 6"]
    assert not grown.model.content.present["style"][-2:].any()


def test_a_strangers_model_may_not_import_code(plain, tmp_path):
    plain.save(tmp_path / "m")
    config = tmp_path / "m" / "config.json"
    config.write_text(config.read_text().replace('"gate"', '"antigravity:Fly"'))
    with pytest.raises(InputError, match=r"antigravity.*not p5mm's own code"):
        type(plain).load(tmp_path / "m")


def test_a_model_from_a_stranger_imports_nothing_unless_it_is_trusted(
    plain, toys, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    mark = tmp_path / "ran"
    (tmp_path / "planted_style.py").write_text(f"open({str(mark)!r}, 'w').close()\n")
    encoders = replace(plain.model.config.encoders, text="planted_style:Evil", others=())
    config = replace(plain.model.config, encoders=encoders)
    Recommender(replace(plain.model, config=config)).save(tmp_path / "m")
    new = Catalog.from_table(pa.table({"item_id": ["n"], "title": ["ring0 step4"]}))
    with pytest.raises(InputError, match="--trust planted_style:Evil"):
        Recommender.load(tmp_path / "m").add_items(new)
    assert not mark.exists()
    with pytest.raises(InputError, match="planted_style"):  # it is imported, and has no Evil
        Recommender.load(tmp_path / "m").add_items(new, trust=["planted_style:Evil"])
    assert mark.exists()


def test_a_column_of_a_wider_type_is_taken(plain, toys):
    """A JSONL file has doubles where the model's Parquet file had floats."""
    rows = [{"item_id": "new 5", "title": "ring2 step5", "style": toys.style(2, 5)}]
    wide = toys.SCHEMA.set(
        toys.SCHEMA.get_field_index("style"), pa.field("style", pa.list_(pa.float64()))
    )
    grown = plain.add_items(Catalog.from_table(pa.Table.from_pylist(rows, schema=wide)))
    assert len(grown.model.catalog) == len(plain.model.catalog) + 1


def test_a_column_of_another_type_is_told(plain, toys):
    table = pa.table({"item_id": ["new 5"], "title": [7], "style": [toys.style(2, 5)]})
    with pytest.raises(InputError, match="a column of another type than those of the model"):
        plain.add_items(Catalog.from_table(table))
