"""New items in a trained recommender: found by content, refused where they do not fit."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from p5mm.data.catalog import Catalog
from p5mm.encoders.base import Features
from p5mm.encoders.store import FeatureStore
from p5mm.errors import InputError
from p5mm.indexing.catalog_index import CatalogIndex
from p5mm.serving.recommender import Recommender
from p5mm.serving.upkeep.addition import add_to_model, foreseen, with_items


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


def test_the_same_items_make_the_same_files(plain, newcomers, tmp_path):
    """Nothing is drawn by chance: a run that was killed comes to what it would have come to."""
    for name in ("one", "other"):
        plain.add_items(newcomers).save(tmp_path / name)
    files = [path for path in (tmp_path / "one").rglob("*") if path.is_file()]
    assert len(files) > 5
    for path in files:
        other = tmp_path / "other" / path.relative_to(tmp_path / "one")
        assert path.read_bytes() == other.read_bytes(), path.name


def test_known_items_with_the_same_content_stay_bit_for_bit(plain, toys, caplog):
    grown, done = with_items(plain.model, toys.toy_catalog(), FeatureStore())
    assert grown is plain.model
    assert (done.added, done.changed, done.known) == ((), (), len(plain.model.catalog))
    assert not done


def test_what_changes_is_replaced_and_what_is_not_said_stays(plain, newcomers):
    model = plain.model
    rows = [
        {"item_id": "r0s1", "title": "ring3 step7"},  # says nothing of the style
        {"item_id": "r2s2", "title": None},
        {"item_id": "r2s3", "title": "ring2 step3"},
        {"item_id": "R2S3", "title": "ring2 step3"},
    ]
    grown, done = with_items(model, Catalog.from_table(pa.Table.from_pylist(rows)), FeatureStore())
    assert (done.added, done.changed, done.known) == (("R2S3",), ("r0s1",), 2)
    assert done.recased == ("R2S3",)
    assert done.lines() == ["+ R2S3", "~ r0s1"]
    row, before = model.catalog.rows, model.content.vectors["text"]
    now = grown.content.vectors["text"]
    np.testing.assert_allclose(now[row["r0s1"]], before[row["r3s7"]], atol=1e-6)
    rest = np.delete(np.arange(len(model.catalog)), row["r0s1"])
    np.testing.assert_array_equal(now[rest], before[rest])
    style = grown.content.vectors["style"]
    np.testing.assert_array_equal(style[:-1], model.content.vectors["style"])
    cells = {cell["item_id"]: cell for cell in grown.catalog.table.to_pylist()}
    assert cells["r0s1"]["title"] == "ring3 step7"
    assert cells["r2s2"]["title"] == "ring2 step2"
    assert cells["r0s1"]["style"] == model.catalog.table.to_pylist()[row["r0s1"]]["style"]
    assert grown.added == 1


def test_a_deleted_item_comes_back_with_its_new_content(plain):
    gone = plain.delete_items(["r0s1", "r0s2"])
    back, done = with_items(
        gone.model,
        Catalog.from_table(pa.table({"item_id": ["r0s1"], "title": ["ring3 step7"]})),
        FeatureStore(),
    )
    assert (done.added, done.changed, done.known) == (("r0s1",), (), 0)
    assert back.deleted == {"r0s2"}
    assert len(back.catalog) == len(plain.model.catalog)
    assert back.added == 0
    row = back.catalog.rows
    texts = back.content.vectors["text"]
    np.testing.assert_allclose(texts[row["r0s1"]], texts[row["r3s7"]], atol=1e-6)


def test_texts_of_other_columns_are_told(plain):
    with pytest.raises(InputError, match="texts are made of title, and the catalog has name"):
        plain.add_items(Catalog.from_table(pa.table({"item_id": ["n"], "name": ["ring0"]})))


def test_an_item_of_which_nothing_is_known_is_told(plain, caplog):
    grown = plain.add_items(Catalog.from_table(pa.table({"item_id": ["n"], "price": [1]})))
    assert "1 new item has nothing that the model reads, such as 'n'" in caplog.text
    assert "n" not in grown.recommend(k=50)["item_id"].to_pylist()


@pytest.mark.parametrize("known", ["new", "r0s1"])
def test_a_dry_run_refuses_vectors_of_another_length_as_the_run_does(plain, toys, known, tmp_path):
    plain.save(tmp_path / "m")
    schema = toys.SCHEMA.remove(1)
    rows = [{"item_id": name, "style": [0.5, 0.5]} for name in ("n", known)]
    given = Catalog.from_table(pa.Table.from_pylist(rows, schema=schema))
    for add in (foreseen, add_to_model):
        with pytest.raises(InputError, match=r"\(vector:style\) have 2 numbers, and the model's 6"):
            add(tmp_path / "m", given)


def test_a_dry_run_tells_what_would_never_be_found(plain, toys, tmp_path, caplog):
    plain.save(tmp_path / "m")
    rows = [{"item_id": "n"}, {"item_id": "full", "style": toys.style(1, 2)}]
    given = Catalog.from_table(pa.Table.from_pylist(rows, schema=toys.SCHEMA))
    done, _ = foreseen(tmp_path / "m", given)
    assert "1 new item has nothing that the model reads, such as 'n'" in caplog.text
    assert done.added == ("n", "full")


def test_a_column_without_any_value_is_as_one_that_is_not_there(plain, toys):
    rows = [{"item_id": "n", "title": "ring2 step5", "style": None}]
    empty = Catalog.from_table(pa.Table.from_pylist(rows, schema=toys.SCHEMA))
    grown = plain.add_items(empty).model.content
    assert (grown.present["text"][-1], grown.present["style"][-1]) == (True, False)


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
    with pytest.raises(InputError, match="a column of another type than that of the model"):
        plain.add_items(Catalog.from_table(table))
