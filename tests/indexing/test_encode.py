"""Shards and several pictures an item, on the way to an index and when they change."""

import io
import logging
import os
import tarfile
import time
from functools import partial

import numpy as np
import pyarrow as pa
import pytest

from p5mm.config import EncoderConfig
from p5mm.data.catalog import Catalog
from p5mm.encoders import encode
from p5mm.errors import InputError
from p5mm.indexing.build import build_index, foreseen
from p5mm.indexing.catalog_index import CatalogIndex
from p5mm.indexing.deletion import delete_items
from p5mm.indexing.encode import encode_catalog
from p5mm.indexing.search_page import item_pictures
from p5mm.indexing.storage import marks as marks_module

PICTURES = EncoderConfig(image="counted", text="none")


def unit_of(name):
    vector = np.random.default_rng(list(name.encode())).normal(size=6)
    return vector / np.linalg.norm(vector), np.linalg.norm(vector)


def mean_of(*names):
    units, lengths = zip(*map(unit_of, names), strict=True)
    mean = np.mean(units, axis=0)
    return mean / np.linalg.norm(mean) * np.mean(lengths)


def shard(path, members):
    path.parent.mkdir(exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def numbers(folder):
    """The number of each file; it stays where the file is linked."""
    return {path: path.stat().st_ino for path in folder.rglob("*") if path.is_file()}


def vectors(out):
    index = CatalogIndex.load(out)
    return dict(zip(index.item_ids, index.features["image"].vectors, strict=True))


def test_shards_become_an_index_and_follow_their_changes(shop, tmp_path):
    folder = tmp_path / "shards"
    shard(folder / "0.tar", {"a.jpg": b"tea", "a.txt": b"tea", "b.jpg": b"pot", "b.2.jpg": b"cup"})
    shard(folder / "1.tar", {"c.jpg": b"broken", "c.2.jpg": b"jar", "d.txt": b"no picture"})
    change = build_index(Catalog.read(folder), shop.out, shop.both)
    assert change.added == ("a", "b", "c", "d")
    made = vectors(shop.out)
    np.testing.assert_allclose(made["a"], mean_of("tea"), rtol=1e-5)
    np.testing.assert_allclose(made["b"], mean_of("pot", "cup"), rtol=1e-5)
    np.testing.assert_allclose(made["c"], mean_of("jar"), rtol=1e-5)
    index = CatalogIndex.load(shop.out)
    assert [(bad.item_id, bad.reason) for bad in index.quarantine] == [
        ("c", "image 1 of 2: broken")
    ]
    assert index.picture_name("b") == "0.tar/b.jpg"
    shown = item_pictures(index, ["b", "d", "a"], folder)
    assert {item: part.read() for item, part in shown.items()} == {"b": b"pot", "a": b"tea"}
    with pytest.raises(InputError, match="holds none of the pictures"):
        item_pictures(index, ["b"], shard(tmp_path / "other" / "0.tar", {"x.jpg": b""}).parent)

    shop.seen.clear()
    assert not build_index(Catalog.read(folder), shop.out, shop.both)
    shard(folder / "0.tar", {"a.jpg": b"tea", "a.txt": b"tea", "b.jpg": b"pot", "b.2.jpg": b"mug"})
    change = build_index(Catalog.read(folder), shop.out, shop.both)
    assert (change.changed, change.untouched) == (("b",), 3)
    assert shop.seen == ["image mug"]
    np.testing.assert_allclose(vectors(shop.out)["b"], mean_of("pot", "mug"), rtol=1e-5)


def test_a_second_picture_changes_its_item_alone(shop, tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name in ("1014", "7"):
        (folder / f"{name}.jpg").write_bytes(name.encode())
    build_index(Catalog.read(folder), shop.out, PICTURES)
    (folder / "1014.png").write_bytes(b"back")
    shop.seen.clear()
    change = build_index(Catalog.read(folder), shop.out, PICTURES)
    assert (change.changed, change.untouched, shop.seen) == (("1014",), 1, ["image back"])
    np.testing.assert_allclose(vectors(shop.out)["1014"], mean_of("1014", "back"), rtol=1e-5)
    (folder / "1014.png").unlink()
    assert build_index(Catalog.read(folder), shop.out, PICTURES).changed == ("1014",)
    np.testing.assert_allclose(vectors(shop.out)["1014"], mean_of("1014"), rtol=1e-5)


def test_unchanged_shards_and_pictures_are_not_read_again(shop, tmp_path, monkeypatch):
    folder = tmp_path / "shards"
    shard(folder / "0.tar", {"a.jpg": b"tea", "b.jpg": b"pot", "b.2.jpg": b"cup"})
    build_index(Catalog.read(folder), shop.out, PICTURES)
    later = time.time_ns() + 10**10
    monkeypatch.setattr(time, "time_ns", lambda: later)
    shard(folder / "0.tar", {"a.jpg": b"tea", "b.jpg": b"pot", "b.2.jpg": b"cap"})
    build_index(Catalog.read(folder), shop.out, PICTURES)
    read, real = [], marks_module.content_keys
    monkeypatch.setattr(
        marks_module, "content_keys", lambda raws: (read.extend(raws), real(raws))[1]
    )
    build_index(Catalog.read(folder), shop.out, PICTURES)
    assert not read
    os.utime(folder / "0.tar", ns=(1, 1))
    build_index(Catalog.read(folder), shop.out, PICTURES)
    assert len(read) == 2
    build_index(Catalog.read(folder), shop.out, PICTURES)
    assert len(read) == 2


@pytest.mark.parametrize("change", ["none", "one new", "many new"])
def test_pictures_that_were_touched_are_read_once_more(shop, tmp_path, monkeypatch, change):
    """With a change beside, small segments are taken up, and a large one gets a neighbour."""
    names = [f"{row}.jpg" for row in range(6)]
    for name in names:
        (tmp_path / name).write_bytes(name.encode())
    later = time.time_ns() + 10**10
    monkeypatch.setattr(time, "time_ns", lambda: later)
    index = partial(build_index, encoders=PICTURES, out=shop.out)
    index(Catalog.read(tmp_path))
    delete_items(shop.out, ["5"])
    (tmp_path / "5.jpg").unlink()
    vectors_before = vectors(shop.out)
    segment = shop.out / "segments" / "000001"
    before = numbers(segment)
    for name in names[:3]:
        os.utime(tmp_path / name, ns=(1, 1))
    new = {"none": 0, "one new": 1, "many new": 8}[change]
    for row in range(new):
        (tmp_path / f"new {row}.jpg").write_bytes(f"new {row}".encode())
    read, real = [], marks_module.content_keys
    monkeypatch.setattr(
        marks_module, "content_keys", lambda raws: (read.extend(raws), real(raws))[1]
    )
    told = index(Catalog.read(tmp_path))
    assert (len(told.added), len(told.changed), told.untouched) == (new, 0, 5)
    assert len(read) == 3 + new
    index(Catalog.read(tmp_path))
    assert len(read) == 3 + new
    after = vectors(shop.out)
    assert all(np.array_equal(after[item], vectors_before[item]) for item in vectors_before)
    if change != "many new":
        now = numbers(segment)
        assert {path.name for path in now if now[path] != before[path]} == {"marks.safetensors"}


def test_pictures_in_lists_of_bytes_are_encoded_once(shop):
    cells = [[b"tea", b"pot"], [b"pot", b"tea"], [b"pot"], None]
    table = pa.table({"item_id": list("abcd"), "image": pa.array(cells, pa.list_(pa.binary()))})
    change, costs = foreseen(Catalog.from_table(table), shop.out, PICTURES)
    assert (len(change.added), costs[0].values) == (4, 2)
    shop.seen.clear()
    build_index(Catalog.from_table(table), shop.out, PICTURES)
    assert sorted(shop.seen) == ["image pot", "image tea"]
    made = vectors(shop.out)
    np.testing.assert_allclose(made["a"], made["b"], rtol=1e-5)
    np.testing.assert_allclose(made["c"], mean_of("pot"), rtol=1e-5)
    assert "image" not in CatalogIndex.load(shop.out).catalog.table.column_names


def test_pictures_in_lists_of_paths_are_found_again(shop, tmp_path):
    for name in ("tea", "pot"):
        (tmp_path / "pics").mkdir(exist_ok=True)
        (tmp_path / "pics" / f"{name}.png").write_bytes(name.encode())
    cells = pa.array([["tea.png", "pot.png"], ["pot.png"], None])
    table = pa.table({"item_id": list("abc"), "image": cells})
    for _ in range(2):
        catalog = Catalog.from_table(table, images=tmp_path / "pics")
        build_index(catalog, shop.out, PICTURES)
        index = CatalogIndex.load(shop.out)
        assert [index.picture_name(item) for item in "abc"] == ["tea.png", "pot.png", None]
    np.testing.assert_allclose(vectors(shop.out)["a"], mean_of("tea", "pot"), rtol=1e-5)


def test_the_cost_of_many_is_told_before_and_the_sample_is_not_wasted(shop, caplog, monkeypatch):
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(encode, "WORTH_TELLING", 0.0)
    catalog = shop.catalog({f"i{row}": f"n{row}" for row in range(1200)})
    encode_catalog(catalog, PICTURES, None)
    told = [record.message for record in caplog.records]
    assert any(line.startswith("image: 1,200 to encode, about ") for line in told)
    assert sorted(shop.seen) == sorted(f"image n{row}" for row in range(1200))
    caplog.clear()
    encode_catalog(catalog.take(np.arange(900)), PICTURES, None)
    assert "to encode" not in caplog.text


def test_a_value_that_hangs_is_in_quarantine_of_the_index(shop, tmp_path, monkeypatch):
    from p5mm.encoders.base import encoders

    class Hangs(encoders._factories["counted.image"]):
        one_thread = False

        def load(self, raw):
            if raw == b"slow":
                time.sleep(1)
            return super().load(raw)

    monkeypatch.setitem(encoders._factories, "counted.image", Hangs)
    quick = EncoderConfig(image="counted", text="none", load_seconds=0.1)
    build_index(shop.catalog({"a": "tea", "b": "slow", "c": "pot"}), shop.out, quick)
    index = CatalogIndex.load(shop.out)
    assert index.features["image"].present.tolist() == [True, False, True]
    assert index.quarantine[0].reason == "loading it took longer than 0.1 s; it was given up"
