"""An index follows its catalog: what changed is told, encoded and written, and nothing else."""

import logging
import os
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from p5mm.config import EncoderConfig
from p5mm.data.catalog import Catalog
from p5mm.errors import InputError
from p5mm.indexing import update as update_module
from p5mm.indexing.build import align_index, build_index, foreseen
from p5mm.indexing.catalog_index import CatalogIndex
from p5mm.indexing.deletion import compact_index, delete_items
from p5mm.indexing.storage.folder import read_index_rows
from p5mm.indexing.storage.manifest import read_manifest

MANY = {f"i{row}": f"n{row}" for row in range(60)}


def test_what_changed_is_told_encoded_and_written(shop):
    assert str(shop.build(MANY)) == "60 added, 0 changed, 0 removed, 0 untouched"
    before = shop.files()
    shop.seen.clear()
    items = {k: v for k, v in MANY.items() if k not in ("i3", "i4")} | {"i5": "other", "new": "n"}
    change = shop.build(items)
    assert str(change) == "1 added, 1 changed, 2 removed, 57 untouched"
    assert change.lines() == ["+ new", "~ i5", "- i3", "- i4"]
    assert sorted(shop.seen) == ["image n", "image other", "text n", "text other"]
    assert shop.items() == items
    after = shop.files()
    kept = {name for name in before if name.startswith("segments/000001/")}
    assert {name: before[name] for name in kept} == {name: after[name] for name in kept}


def test_an_unchanged_catalog_writes_nothing(shop):
    shop.build(MANY)
    before, inode = shop.files(), os.stat(shop.out).st_ino
    shop.seen.clear()
    change = shop.build(dict(reversed(MANY.items())))  # the order of rows is no content
    assert str(change) == "0 added, 0 changed, 0 removed, 60 untouched"
    assert (shop.files(), os.stat(shop.out).st_ino, shop.seen) == (before, inode, [])


def test_a_dry_run_tells_it_all_and_writes_nothing(shop, tmp_path):
    items = MANY | {"same": "n1"}
    change, costs = foreseen(shop.catalog(items), shop.out, shop.both)
    assert len(change.added) == 61
    assert [cost.values for cost in costs] == [60, 60]  # one picture under two ids
    assert not shop.out.exists()
    assert not (tmp_path / "cache").exists()
    shop.build(MANY)
    before = shop.files(tmp_path)
    change, costs = foreseen(shop.catalog(items | {"more": "m"}), shop.out, shop.both)
    assert change.lines() == ["+ same", "+ more"]
    assert [(cost.values, cost.known) for cost in costs] == [(1, 1), (1, 1)]
    assert str(costs[0]).startswith("image: 1 to encode, about ")
    assert {k: v for k, v in shop.files(tmp_path).items() if "sqlite" not in k} == {
        k: v for k, v in before.items() if "sqlite" not in k
    }


@settings(max_examples=25, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_after_any_changes_it_is_what_a_new_index_would_be(shop, data):
    """Against an index that is made at once of the last catalog."""
    names = st.one_of(st.none(), st.sampled_from([f"n{row}" for row in range(9)] + ["broken"]))
    ids = st.sampled_from([f"i{row}" for row in range(12)])
    start = st.dictionaries(ids, names, min_size=6, max_size=12)
    items = data.draw(start) | {"always": "n0"}
    build_index(shop.catalog(items), shop.out, shop.both, force=True)
    for _ in range(data.draw(st.integers(1, 6))):
        step = data.draw(st.sampled_from(["update", "delete", "compact"]))
        if step == "update":
            new = data.draw(start) | {"always": data.draw(st.sampled_from(["n0", "n1"]))}
            change = build_index(shop.catalog(new), shop.out, shop.both, force=True)
            both = items.keys() & new.keys()
            assert set(change.added) == new.keys() - items.keys()
            assert set(change.removed) == items.keys() - new.keys()
            assert set(change.changed) == {item for item in both if items[item] != new[item]}
            assert change.untouched == len(both) - len(change.changed)
            items = new
        elif step == "delete" and len(items) > 2:
            gone = data.draw(st.lists(st.sampled_from(sorted(items)[1:]), min_size=1, unique=True))
            gone = [item for item in gone if item != "always"][:3]
            delete_items(shop.out, gone, strict=False)
            items = {item: name for item, name in items.items() if item not in gone}
        else:
            compact_index(shop.out)
    assert shop.items() == items
    index = CatalogIndex.load(shop.out)
    fresh = CatalogIndex.build(shop.catalog({i: items[i] for i in index.item_ids}), [
        replace(made, quarantine=()) for made in index.features.values()
    ])  # fmt: skip
    assert set(index.views) == set(fresh.views)
    for name, view in index.views.items():
        assert view.item_ids == fresh.views[name].item_ids
        queries = np.random.default_rng(0).normal(size=(3, view.dim)).astype(np.float32)
        ours, theirs = (one.search(queries, 20) for one in (view, fresh.views[name]))
        assert [set(ids) for ids in ours[0]] == [set(ids) for ids in theirs[0]]
        np.testing.assert_allclose(ours[1], theirs[1], rtol=1e-5, atol=1e-6)
    refused = {(bad.item_id, bad.modality) for bad in index.quarantine}
    broken = [item for item, name in items.items() if name == "broken"]
    assert refused == {(item, side) for item in broken for side in ("image", "text")}


def test_small_segments_are_taken_up(shop):
    shop.build(MANY)
    for row in range(20):
        shop.build(MANY | {f"new{n}": f"m{n}" for n in range(row + 1)})
    sizes = [segment.items for segment in read_manifest(shop.out).segments]
    assert sum(sizes) == 80
    assert len(sizes) <= 4
    assert sizes == sorted(sizes, reverse=True)


def test_large_segments_are_left_alone(shop, monkeypatch):
    monkeypatch.setattr(update_module, "MOST_SWALLOWED", 10)
    shop.build(MANY)
    shop.build(MANY | {f"new{n}": f"m{n}" for n in range(100)})
    assert [segment.items for segment in read_manifest(shop.out).segments] == [60, 100]


def test_a_changed_price_is_a_change_that_encodes_nothing(shop):
    shop.build(MANY, price=list(range(60)))
    shop.seen.clear()
    prices = [float(row) for row in range(60)]  # the same numbers
    prices[7] = 7.5
    assert shop.build(MANY, price=prices).lines() == ["~ i7"]
    assert not shop.seen
    index = CatalogIndex.load(shop.out)
    assert set(index.where("price == 7.5").views["text"].item_ids) == {"i7"}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({}, {"tags": [["a", "b"], None, []] * 20}),
        ({"tags": [["a", "b"], None, []] * 20}, {}),
        ({"size": [1, None, 3] * 20}, {"size": [1.0, None, 4.0] * 20}),
        ({"size": [float("nan")] * 60}, {"size": [float("nan")] * 59 + [1.0]}),
        ({"tags": [["a"], ["b"], []] * 20}, {"tags": [["a"], ["c"], None] * 20}),
    ],
)
def test_columns_that_come_go_and_change(shop, before, after):
    shop.build(MANY, **before)
    nothing = [None] * 60
    columns = {name: (before.get(name, nothing), after.get(name, nothing)) for name in
               {*before, *after}}  # fmt: skip
    differ = [
        f"~ i{row}"
        for row in range(60)
        if any(a[row] != b[row] and not (a[row] != a[row] and b[row] != b[row])
               for a, b in columns.values())
    ]  # fmt: skip
    assert shop.build(MANY, **after).lines() == differ
    assert str(shop.build(MANY, **after)) == "0 added, 0 changed, 0 removed, 60 untouched"


def test_a_column_of_another_kind_makes_all_anew(shop, caplog):
    shop.build(MANY, code=list(range(60)))
    with caplog.at_level(logging.INFO):
        change = shop.build(MANY, code=[f"x{row}" for row in range(60)])
    assert len(change.changed) == 60
    assert "the columns are not those of the index" in caplog.text
    assert len(read_manifest(shop.out).segments) == 1


def test_other_encoders_make_all_anew(shop, caplog):
    shop.build(MANY)
    with caplog.at_level(logging.INFO):
        change = build_index(
            shop.catalog(MANY), shop.out, EncoderConfig(image="none", text="counted", workers=0)
        )
    assert len(change.changed) == 60
    assert "the encoders are not those of the index" in caplog.text
    assert set(CatalogIndex.load(shop.out).features) == {"text"}


def test_files_are_compared_by_their_bytes(shop, tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for row in range(12):
        (folder / f"p{row}.png").write_bytes(b"n%d" % row)
    pictures = EncoderConfig(image="counted", text="none", workers=0)
    build_index(Catalog.read(folder), shop.out, pictures)
    (folder / "p3.png").write_bytes(b"other")
    (folder / "p4.png").unlink()
    (folder / "p5.png").rename(folder / "P5.png")
    os.utime(folder / "p6.png")
    shop.seen.clear()
    change = build_index(Catalog.read(folder), shop.out, pictures)
    assert change.lines() == ["+ P5", "~ p3", "- p4", "- p5"]
    assert change.recased == ("P5",)
    assert shop.seen == ["image other"]  # a new name for old bytes encodes nothing
    (folder / "p7.png").unlink()
    table = pa.table({"item_id": ["p7", *map("p{}".format, range(8, 12)), "p3", "p6", "p0"],
                      "image": [f"p{row}.png" for row in (7, 8, 9, 10, 11, 3, 6, 0)]})  # fmt: skip
    change = build_index(Catalog.from_table(table, folder), shop.out, pictures)
    assert "~ p7" in change.lines()
    index = CatalogIndex.load(shop.out)
    assert [bad.item_id for bad in index.quarantine] == ["p7"]
    assert str(build_index(Catalog.from_table(table, folder), shop.out, pictures)) == (
        "0 added, 0 changed, 0 removed, 8 untouched"
    )


def test_ids_that_change_their_case_are_told(shop, caplog):
    shop.build(MANY)
    shop.seen.clear()
    change = shop.build({k.upper() if k == "i1" else k: v for k, v in MANY.items()})
    assert change.lines() == ["+ I1", "- i1"]
    assert "1 id is new in case alone: I1" in caplog.text
    assert not shop.seen


def test_one_picture_under_many_ids_is_encoded_once(shop):
    shop.build({f"i{row}": "one" for row in range(10_000)})
    assert sorted(shop.seen) == ["image one", "text one"]
    shop.seen.clear()
    shop.build({f"i{row}": "one" for row in range(10_100)})
    assert shop.seen == []


def test_a_broken_newcomer_stops_nothing(shop):
    shop.build(MANY)
    shop.build(MANY | {"bad": "broken", "empty": None})
    index = CatalogIndex.load(shop.out)
    assert {(bad.item_id, bad.modality) for bad in index.quarantine} == {
        ("bad", "image"), ("bad", "text"),
    }  # fmt: skip
    assert not index.present[index.catalog.rows["bad"]]
    shop.build(MANY | {"bad": "mended"})
    assert CatalogIndex.load(shop.out).quarantine == ()


def test_a_catalog_that_shrinks_to_nothing_is_refused(shop):
    shop.build(MANY)
    before = shop.files()
    some = {"i1": "n1", "i2": "n2"}
    for other in (some, {"x": "y"}):
        with pytest.raises(InputError, match=r"of the 60 items .* would be removed .*--force"):
            shop.build(other)
        with pytest.raises(InputError, match="--force"):
            foreseen(shop.catalog(other), shop.out, shop.both)
    assert shop.files() == before
    build_index(shop.catalog(some), shop.out, shop.both, force=True)
    assert shop.items() == some


def test_an_index_of_a_newer_p5mm_is_left_alone(shop):
    shop.build(MANY)
    config = shop.out / "config.json"
    config.write_text(config.read_text().replace('"format": 3', '"format": 4'))
    before = shop.files()
    for change in (
        lambda: shop.build(MANY),
        lambda: delete_items(shop.out, ["i1"]),
        lambda: compact_index(shop.out),
        lambda: CatalogIndex.load(shop.out),
        lambda: align_index(shop.out),
    ):
        with pytest.raises(InputError, match="newer p5mm, in format 4"):
            change()
    assert shop.files() == before


def test_a_folder_that_may_only_be_read_is_told_before_the_work(shop, monkeypatch):
    shop.build(MANY)
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    monkeypatch.setattr(update_module, "encode_by", None)  # nobody gets that far
    for change in (
        lambda: shop.build(MANY | {"x": "y"}),
        lambda: delete_items(shop.out, ["i1"]),
        lambda: compact_index(shop.out),
    ):
        with pytest.raises(InputError, match="may only be read"):
            change()
    assert shop.items() == MANY  # it can be read


def test_an_alignment_goes_on(shop):
    build_index(shop.catalog(MANY), shop.out, shop.both, align=True)
    before = CatalogIndex.load(shop.out).alignment
    shop.build(MANY | {"new": "n"})
    delete_items(shop.out, ["i3"])
    index = CatalogIndex.load(shop.out)
    assert len(index.views["joint"]) == 60
    assert index.alignment.report == before.report
    query = before.project("text", index.features["text"].vectors[-1:])
    assert index.views["joint"].search(query, 1)[0] == [["new"]]
    assert read_index_rows(shop.out).alignment.report == before.report
    compact_index(shop.out)
    after = CatalogIndex.load(shop.out)
    assert len(after.views["joint"]) == 60
    scores = [one.views["joint"].search(query, 60)[1] for one in (index, after)]
    np.testing.assert_allclose(*scores, atol=1e-5)


def test_an_approximate_index_takes_new_items_and_loses_old_ones(shop, monkeypatch):
    monkeypatch.setattr("p5mm.retrieval.tuning.EXACT_UP_TO", 1000)
    items = {f"i{row}": f"n{row}" for row in range(1500)}
    shop.build(items)
    shop.build({k: v for k, v in items.items() if k != "i7"} | {"new": "m"})
    index = CatalogIndex.load(shop.out)
    assert index.views["image"].factory.startswith("IVF")
    assert index.views["image"].factory.endswith(" + Flat")
    ids = [hit.item_id for hit in index.search_picture(b"m", 3)]
    assert ids[0] == "new"
    assert "i7" not in [hit.item_id for hit in index.search_picture(b"n7", 1500)]
    assert index.search_picture(b"n8", 1)[0].item_id == "i8"
    compact_index(shop.out)
    index = CatalogIndex.load(shop.out)
    assert index.views["image"].is_one
    assert index.search_picture(b"m", 1)[0].item_id == "new"
    assert "i7" not in [hit.item_id for hit in index.search_picture(b"n7", 1500)]


@pytest.mark.parametrize("side", ["image", "text"])
def test_an_aligned_index_takes_items_that_have_one_side(shop, side):
    """A segment without any picture, or without any text, has its joint view all the same."""
    shop.build(MANY)
    align_index(shop.out)
    table = shop.catalog(MANY | {"one": "lone"}).table.to_pylist()
    table[-1]["name" if side == "image" else "image"] = None
    catalog = Catalog.from_table(pa.Table.from_pylist(table, shop.catalog(MANY).table.schema),
                                 text=["name"])  # fmt: skip
    assert str(build_index(catalog, shop.out, shop.both)).startswith("1 added, 0 changed")
    index = CatalogIndex.load(shop.out)
    assert "one" in index.views["joint"].item_ids
    compact_index(shop.out)
    whole = CatalogIndex.load(shop.out)
    assert set(whole.views["joint"].item_ids) == set(index.views["joint"].item_ids)


@pytest.mark.parametrize("error", [OSError(24, "Too many open files"), MemoryError()])
def test_an_index_that_cannot_be_read_now_is_kept(shop, monkeypatch, error):
    shop.build(MANY)
    before = shop.files()

    def unreadable(_):
        raise InputError("not now") from error

    monkeypatch.setattr(update_module, "read_index_rows", unreadable)
    with pytest.raises(InputError, match="not now"):
        shop.build(MANY | {"new": "n"})
    assert shop.files() == before


def test_a_spec_in_a_folder_is_not_believed(shop):
    """What opens an encoder is what the user gave, even if its fingerprint is the same."""
    shop.build(MANY)
    path = shop.out / "config.json"
    path.write_text(path.read_text().replace('"spec": "counted', '"spec": "hf:evil'))
    shop.build(MANY | {"new": "n"})
    assert "evil" not in path.read_text()


def test_numbers_that_are_none_within_a_value_are_no_change(shop):
    column = pa.array([{"x": float("nan")}] * 60)
    shop.build(MANY, odd=column)
    assert str(shop.build(MANY, odd=column)) == "0 added, 0 changed, 0 removed, 60 untouched"
