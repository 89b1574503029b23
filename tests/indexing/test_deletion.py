"""Items out of an index: at once, and their room when it is compacted; what an index is."""

import json
import os

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from p5mm.errors import InputError
from p5mm.indexing.build import build_index
from p5mm.indexing.catalog_index import CatalogIndex
from p5mm.indexing.deletion import compact_index, delete_items
from p5mm.indexing.status import bytes_in, index_status
from p5mm.indexing.storage.folder import read_index, read_index_rows

MANY = {f"i{row}": f"n{row}" for row in range(200)}


@pytest.fixture
def made(shop):
    build_index(shop.catalog(MANY), shop.out, shop.both)
    return shop


def test_a_deletion_acts_at_once_and_writes_little(made):
    vectors = made.out / "segments" / "000001" / "features" / "image.safetensors"
    before = os.stat(vectors)
    done = delete_items(made.out, ["i3", "i5", "i3"])
    assert (done.deleted, done.unknown, done.left) == (2, (), 198)
    assert os.path.samestat(before, os.stat(vectors))
    index = CatalogIndex.load(made.out)
    assert made.items().keys() == MANY.keys() - {"i3", "i5"}
    assert "i3" not in {hit.item_id for hit in index.search_text("n3", 200)}
    with pytest.raises(InputError, match="unknown item 'i3'"):
        index.search_item("i3")
    delete_items(made.out, ["i7"])
    assert made.items().keys() == MANY.keys() - {"i3", "i5", "i7"}


def test_every_id_must_be_an_items_unless_it_stands_in_a_list(made):
    with pytest.raises(InputError, match=r"1 of 2 ids are no items .* such as 'i3x'; did you mean"):
        delete_items(made.out, ["i1", "i3x"])
    assert len(made.items()) == 200
    done = delete_items(made.out, ["i1", "i3x"], strict=False)
    assert (done.deleted, done.unknown, done.left) == (1, ("i3x",), 199)
    inode = os.stat(made.out).st_ino
    again = delete_items(made.out, ["i1", "i3x"], strict=False)
    assert (again.deleted, again.unknown) == (0, ("i1", "i3x"))
    assert os.stat(made.out).st_ino == inode  # nothing was written


def test_an_index_of_nothing_is_none(made):
    with pytest.raises(InputError, match="all 200 items of the index; delete its folder"):
        delete_items(made.out, list(MANY))
    with pytest.raises(InputError, match="no index of p5mm"):
        delete_items(made.out.parent / "nowhere", ["i1"])
    assert not (made.out.parent / "nowhere").exists()


def test_what_is_deleted_leaves_quarantine_too(shop):
    build_index(shop.catalog(MANY | {"bad": "broken"}), shop.out, shop.both)
    delete_items(shop.out, ["bad"])
    assert CatalogIndex.load(shop.out).quarantine == ()


def test_the_room_comes_back_when_it_is_compacted(made):
    whole = bytes_in(made.out)
    delete_items(made.out, [f"i{row}" for row in range(150)])
    told = index_status(made.out)
    assert (told["items"], told["deleted"], told["worth_compacting"]) == (50, 150, True)
    assert 0.5 * whole < told["bytes_of_deleted"] < whole
    compact_index(made.out)
    told = index_status(made.out)
    assert (told["items"], told["deleted"], told["worth_compacting"]) == (50, 0, False)
    assert told["bytes"] == bytes_in(made.out) < 0.6 * whole
    assert not (made.out / "deleted.safetensors").exists()
    assert made.items() == dict(list(MANY.items())[150:])
    inode = os.stat(made.out).st_ino
    compact_index(made.out)
    assert os.stat(made.out).st_ino == inode  # there was nothing to do
    made.seen.clear()
    build_index(made.catalog(MANY), made.out, made.both)
    assert made.items().keys() == MANY.keys()
    assert not made.seen


def test_the_status_of_an_index(made):
    build_index(made.catalog(MANY | {"new": "m", "bad": "broken"}), made.out, made.both, align=True)
    build_index(made.catalog(MANY | {"new": "m2", "bad": "broken"}), made.out, made.both)
    told = index_status(made.out)
    json.dumps(told)
    assert (told["kind"], told["format"], told["items"], told["text"]) == (
        "index",
        3,
        202,
        ["name"],
    )
    assert told["modalities"]["image"] == {
        "spec": "counted", "fingerprint": "counted image", "dim": 6, "items": 201,
    }  # fmt: skip
    assert (told["without_vector"], told["quarantined"], told["deleted"]) == (1, 2, 1)
    assert told["alignment"]["pairs"] == 201
    assert [(one["items"], one["deleted"]) for one in told["segments"]] == [(202, 1), (1, 0)]
    view = {"index": "Flat", "items": 201, "bytes": 201 * 6 * 4 + 45, "recall@100": 1.0}
    assert told["index_kind"] == "auto"
    joint = view | {"bytes": 201 * 12 * 4 + 45}
    assert told["segments"][0]["views"] == {"image": view, "text": view, "joint": joint}


@pytest.mark.parametrize(
    "rows", [[], [3], [3, 3], [5, 3], [-1, 3], [3, 200], [3.0, 5.0], [[3, 5]], None]
)
def test_deleted_rows_from_a_stranger(made, rows):
    delete_items(made.out, ["i3", "i5"])
    path = made.out / "deleted.safetensors"
    assert load_file(path)["000001"].tolist() == [3, 5]
    array = np.array(rows) if rows else np.empty(0, np.int64)
    save_file({"000009" if rows is None else "000001": array}, path)
    for read in (read_index, read_index_rows):
        with pytest.raises(InputError, match=r"deleted\.safetensors"):
            read(made.out)
