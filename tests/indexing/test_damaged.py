"""An index that is damaged is made anew by its command, unless the catalog lacks its items."""

import json

import pytest

from p5mm.errors import InputError
from p5mm.indexing.build import build_index, foreseen
from p5mm.indexing.deletion import delete_items
from p5mm.indexing.status import index_status
from p5mm.indexing.storage.remains import remains_of

MANY = {f"i{row}": f"n{row}" for row in range(60)}
LESS = {k: v for k, v in MANY.items() if k not in ("i1", "i2")}
FILES = [
    "segments/000001/views/image/index.faiss", "segments/000001/views/text/ids.parquet",
    "segments/000001/views/text/index.json", "segments/000001/features/image.safetensors",
    "segments/000001/marks.safetensors", "segments/000001/items.parquet", "quarantine.parquet",
    "deleted.safetensors",
]  # fmt: skip


@pytest.fixture
def old(shop):
    build_index(shop.catalog(MANY), shop.out, shop.both)
    delete_items(shop.out, ["i1", "i2"])
    return shop


@pytest.mark.parametrize("how", ["cut", "lost"])
@pytest.mark.parametrize("file", FILES)
def test_a_damaged_file_is_seen_mended_and_guarded(old, file, how, caplog):
    path = old.out / file
    data = path.read_bytes()
    path.unlink()
    if how == "cut":
        path.write_bytes(data[: len(data) // 2])
    for run in (build_index, foreseen):
        with pytest.raises(InputError, match=r"tells of \d\d items.*the catalog has 1.*--force"):
            run(old.catalog({"i3": "n3"}), old.out, old.both)
    assert path.exists() == (how == "cut")
    told = build_index(old.catalog(LESS), old.out, old.both)
    assert len(told.added) == 58
    assert "made anew, without its alignment" in caplog.text
    assert str(path) in caplog.text
    assert old.items() == LESS


def test_a_small_catalog_replaces_a_damaged_index_by_force(old):
    (old.out / "segments/000001/marks.safetensors").unlink()
    build_index(old.catalog({"i3": "n3"}), old.out, old.both, force=True)
    assert old.items() == {"i3": "n3"}


def test_a_damaged_index_is_made_anew_of_its_kind(shop):
    build_index(shop.catalog(MANY), shop.out, shop.both, index_kind="1.5kB")
    (shop.out / "segments/000001/views/image/index.faiss").unlink()
    build_index(shop.catalog(MANY), shop.out, shop.both)
    about = index_status(shop.out)
    assert about["index_kind"] == "1.5kB"
    assert about["segments"][0]["views"]["image"]["index"] == "SQfp16"


def test_what_is_left_is_told_as_far_as_it_goes(old):
    build_index(old.catalog(LESS | {"new": "n"}), old.out, old.both)
    whole = remains_of(old.out)
    assert (whole.ids, whole.items) == (LESS.keys() | {"new"}, 59)
    (old.out / "segments/000001/items.parquet").write_bytes(b"")
    part = remains_of(old.out)
    assert (part.ids, part.items) == ({"new"}, 59)
    assert part.kept(frozenset({"new", "a", "b"})) == 3  # those that cannot be read may be a and b
    assert whole.kept(frozenset({"new", "a", "b"})) == 1
    about = json.loads((old.out / "config.json").read_text())
    (old.out / "config.json").write_text(json.dumps(about | {"format": 1, "items": 7}))
    assert (remains_of(old.out).ids, remains_of(old.out).items) == ({"new"}, 7)
    (old.out / "config.json").write_text(json.dumps(about | {"format": 1, "items": 10**400}))
    assert remains_of(old.out).items == 1


def test_an_index_that_tells_nothing_is_replaced_with_a_word(old, caplog):
    (old.out / "config.json").write_text('{"kind": "p5mm catalog index", "format": 1}')
    for segment in (old.out / "segments").iterdir():
        (segment / "items.parquet").unlink()
    build_index(old.catalog({"i3": "n3"}), old.out, old.both)
    assert "it tells nothing of its items: whether some are lost is open" in caplog.text
