"""Near-duplicates against all pairs of vectors."""

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from p5mm.data.catalog import Catalog
from p5mm.encoders.base import Features
from p5mm.errors import InputError
from p5mm.indexing import duplicates as duplicates_module
from p5mm.indexing.build import build_index
from p5mm.indexing.catalog_index import CatalogIndex
from p5mm.indexing.duplicates import duplicates
from p5mm.indexing.duplicates_page import duplicates_page


def index_of(vectors, present=None):
    n = len(vectors)
    present = np.ones(n, bool) if present is None else present
    table = pa.table({"item_id": [f"i{row}" for row in range(n)]})
    features = Features("image", "fake", "f", vectors.astype(np.float32), present)
    return CatalogIndex.build(Catalog(table), [features])


def clusters(n=40, copies=3, d=16):
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(n, d))
    return np.concatenate([centres + rng.normal(size=(n, d)) * 0.02 for _ in range(copies)])


def by_all_pairs(vectors, threshold):
    """Connected groups, by a search through all pairs."""
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    alike, left, groups = unit @ unit.T >= threshold, set(range(len(unit))), set()
    while left:
        group, edge = set(), {left.pop()}
        while edge:
            group |= edge
            edge = {int(n) for row in edge for n in np.flatnonzero(alike[row])} - group
        left -= group
        if len(group) > 1:
            groups.add(frozenset(f"i{row}" for row in group))
    return groups


@pytest.mark.parametrize("threshold", [0.5, 0.9, 0.99])
@pytest.mark.parametrize("exact", [True, False])
def test_groups_are_those_of_all_pairs(monkeypatch, threshold, exact):
    if not exact:
        monkeypatch.setattr(duplicates_module, "EXACT_UP_TO", 10)
    vectors = clusters()
    found = duplicates(index_of(vectors), threshold=threshold)
    assert {frozenset(group.item_ids) for group in found} == by_all_pairs(vectors, threshold)
    assert not any(group.same for group in found)


def test_more_copies_than_neighbours_are_one_group():
    vectors = np.concatenate([np.tile(np.eye(8)[:1], (500, 1)), np.eye(8)[1:4]])
    (group,) = duplicates(index_of(vectors))
    assert len(group.item_ids) == 500
    assert group.likeness == pytest.approx(1)


def test_items_without_a_vector_are_like_nothing():
    vectors = np.zeros((4, 3))
    vectors[0] = vectors[1] = 1
    present = np.array([True, True, False, False])
    (group,) = duplicates(index_of(vectors, present))
    assert group.item_ids == ("i0", "i1")
    assert duplicates(index_of(np.eye(3))) == []


def test_same_bytes_come_first(shop):
    items = {f"i{row}": f"n{row}" for row in range(30)} | {"copy": "n7", "third": "n7"}
    build_index(shop.catalog(items), shop.out, shop.both)
    (group,) = duplicates(CatalogIndex.load(shop.out), threshold=0.99)
    assert (group.item_ids, group.same) == (("i7", "copy", "third"), True)
    (group,) = duplicates(CatalogIndex.load(shop.out), "text", threshold=0.99)
    assert group.item_ids == ("i7", "copy", "third")


@pytest.mark.parametrize("threshold", [0, -1, 1.1, float("nan")])
def test_a_threshold_is_a_cosine(threshold):
    with pytest.raises(InputError, match="a cosine above 0, at most 1"):
        duplicates(index_of(np.eye(3)), threshold=threshold)
    with pytest.raises(InputError, match="unknown modality 'sound'"):
        duplicates(index_of(np.eye(3)), "sound")


def test_the_page_shows_the_pictures(tmp_path, page_of):
    for row, colour in enumerate(("red", "red", "blue")):
        Image.new("RGB", (20, 20), colour).save(tmp_path / f"i{row}.png")
    vectors = np.array([[1, 0], [1, 0.1], [0, 1]], np.float32)
    table = pa.table({"item_id": ["i0", "i1", "i2"], "title": ["<b>a", "b", "c"],
                      "image": ["i0.png", "../i1.png", "i2.png"]})  # fmt: skip
    features = Features("image", "fake", "f", vectors, np.ones(3, bool))
    index = CatalogIndex.build(Catalog(table, ("title",)), [features])
    groups = duplicates(index)
    page = page_of(duplicates_page(groups, index, 0.9, tmp_path, ["made here"]))
    assert "2 items in 1 groups" in page.text
    assert "0.995" in page.text
    assert len(page.find("image", "href")) == 1  # what leads out of the folder is not shown
    assert page.find("image", "href")[0].startswith("data:image/webp")
    bare = page_of(duplicates_page([], index, 0.9, None, []))
    assert "No two items are that much alike" in bare.text
