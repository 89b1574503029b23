"""What searches an index: a kind or a memory that is chosen, and stays."""

import json
import logging

import pytest

from p5mm.errors import InputError
from p5mm.indexing.build import align_index, build_index
from p5mm.indexing.catalog_index import CatalogIndex
from p5mm.indexing.status import index_status
from p5mm.indexing.storage.manifest import read_manifest

MANY = {f"i{row}": f"n{row}" for row in range(60)}
WIDTHS = {"Flat": 4, "SQfp16": 2, "SQ8": 1}  # bytes of a dimension


def factories(shop):
    return [
        {name: view["index"] for name, view in segment["views"].items()}
        for segment in index_status(shop.out)["segments"]
    ]


def test_a_memory_chooses_the_index_and_stays(shop, caplog):
    """60 items of 6 dimensions in two views: 720 numbers; 1.44 kB are two bytes each."""
    caplog.set_level(logging.INFO)
    catalog = shop.catalog(MANY)
    build_index(catalog, shop.out, shop.both, index_kind="1.5kB")
    assert factories(shop) == [{"image": "SQfp16", "text": "SQfp16"}]
    assert "index 1.5kB: image is SQfp16, 0.000" in caplog.text
    shop.build(MANY | {"new": "m"})  # the files have headers: there is no room beside them
    assert "the memory has no room for one segment more" in caplog.text
    assert factories(shop) == [{"image": "SQfp16", "text": "SQfp16"}]
    assert CatalogIndex.load(shop.out).search_text("m", k=1)[0].item_id == "new"
    align_index(shop.out)  # the joint view is as long as both
    assert factories(shop) == [dict.fromkeys(("image", "text", "joint"), "SQ8")]
    assert read_manifest(shop.out).index_kind == "1.5kB"
    shop.seen.clear()
    change = build_index(catalog, shop.out, shop.both, index_kind="auto")
    assert str(change) == "0 added, 0 changed, 1 removed, 60 untouched"
    assert "the index is 1.5kB, not auto: all is made anew" in caplog.text
    assert set(factories(shop)[0].values()) == {"Flat"}
    assert shop.seen == []


def test_segments_share_a_memory(shop):
    """60 items of 6 dimensions in two views fill 3 kB; more come, and all stay within it."""
    some, segments = dict(MANY), []
    build_index(shop.catalog(some), shop.out, shop.both, index_kind="3kB")
    for step in range(8):
        some |= {f"{step}.{number}": "m" for number in range(20 if step else 1)}
        shop.build(some)
        about = index_status(shop.out)["segments"]
        views = [view for of in about for view in of["views"].values()]
        assert sum(view["items"] for view in views) == 2 * len(some)
        assert sum(6 * view["items"] * WIDTHS[view["index"]] for view in views) <= 3000
        segments.append(len(about))
    assert set(segments) == {1, 2}  # a second where there is room beside the first
    before = shop.files()
    with pytest.raises(InputError, match=r"dimensions take .* Allow more"):
        shop.build(some | {f"x{number}": "m" for number in range(100)})
    assert shop.files() == before


def test_a_memory_that_is_too_small_leaves_the_index_as_it_was(shop):
    shop.build(MANY)
    before = shop.files()
    with pytest.raises(InputError, match=r"60 vectors of 6 dimensions take .* Allow more"):
        build_index(shop.catalog(MANY), shop.out, shop.both, index_kind="0.7kB")
    for wrong in ("ivff", "0GB", "2 GiB", "IVF2,Flat", "-1GB"):
        with pytest.raises(InputError, match=r"unknown index kind .*or a memory such as 2GB"):
            build_index(shop.catalog(MANY), shop.out, shop.both, index_kind=wrong)
    assert shop.files() == before


@pytest.mark.parametrize(
    ("kind", "message"), [("../ivf", "unknown index kind"), (None, "index_kind"), (2, "index_kind")]
)
def test_a_kind_that_is_none_is_refused_and_made_anew_as_auto(shop, kind, message):
    shop.build(MANY)
    path = shop.out / "config.json"
    about = json.loads(path.read_text())
    path.write_text(json.dumps(about | {"index_kind": kind}))
    with pytest.raises(InputError, match=rf"config\.json.*{message}"):
        read_manifest(shop.out)
    shop.build(MANY)
    assert read_manifest(shop.out).index_kind == "auto"
