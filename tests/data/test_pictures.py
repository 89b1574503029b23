import os

import pyarrow as pa
import pytest

from p5mm.data.catalog import Catalog
from p5mm.data.pictures import scan
from p5mm.errors import InputError


def touch(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return folder


def test_a_neighbour_is_a_second_picture_and_does_not_rename_an_item(tmp_path, caplog):
    caplog.set_level("INFO")
    touch(tmp_path, "1014.png", "sub/a.webp")
    assert scan(tmp_path) == {"1014": ["1014.png"], "sub/a": ["sub/a.webp"]}
    assert not caplog.text
    touch(tmp_path, "1014.jpg", "1014.gif")
    assert scan(tmp_path) == {"1014": ["1014.jpg", "1014.png", "1014.gif"], "sub/a": ["sub/a.webp"]}
    assert (
        "1 item has several pictures, 3 in all, such as '1014': 1014.jpg, 1014.png" in caplog.text
    )
    items = Catalog.read(tmp_path)
    assert items.raw("image") == [
        tuple(tmp_path / f"1014.{kind}" for kind in ("jpg", "png", "gif")), tmp_path / "sub/a.webp"
    ]  # fmt: skip
    assert items.picture("1014") == tmp_path / "1014.jpg"
    assert items.table["image"].to_pylist() == ["1014.jpg", "sub/a.webp"]
    assert items.table["more_images"].to_pylist() == [["1014.png", "1014.gif"], None]


def test_an_items_pictures_may_lie_in_a_folder_of_its_name(tmp_path):
    touch(
        tmp_path, "a/2.jpg", "a/1.png", "a/deep/3.jpg", "b.jpg", "b/1.jpg", "c/1.jpg", "none/1.jpg"
    )
    items = Catalog.from_table({"item_id": ["a", "b", "c", "d"]}, tmp_path)
    assert items.raw("image") == [
        (tmp_path / "a/1.png", tmp_path / "a/2.jpg"), tmp_path / "b.jpg", tmp_path / "c/1.jpg", None
    ]  # fmt: skip


def test_a_sub_folder_of_a_bare_folder_is_part_of_the_id_until_a_table_says_otherwise(tmp_path):
    photos = touch(tmp_path / "photos", "shoes/17.jpg", "lamp/1.jpg", "lamp/2.jpg")
    assert Catalog.read(photos).item_ids == ["lamp/1", "lamp/2", "shoes/17"]
    (tmp_path / "items.csv").write_text("item_id\nlamp\n")
    items = Catalog.read(tmp_path / "items.csv", images=photos)
    assert items.raw("image") == [(photos / "lamp/1.jpg", photos / "lamp/2.jpg")]


@pytest.mark.parametrize("kind", [pa.list_, pa.large_list])
def test_a_column_of_lists_gives_several_pictures(kind, tmp_path):
    touch(tmp_path, "1.jpg", "2.jpg")
    cells = [
        ["1.jpg", "2.jpg", "1.jpg"],
        ["2.jpg"],
        [],
        None,
        ["../x.jpg", "1.jpg"],
        ["no.jpg", None],
    ]
    named = pa.table({"item_id": list("abcdef"), "image": pa.array(cells, kind(pa.string()))})
    items = Catalog.from_table(named, tmp_path)
    one, two = tmp_path / "1.jpg", tmp_path / "2.jpg"
    assert items.raw("image") == [(one, two), two, None, None, one, None]
    assert [item for item, _ in items.quarantine] == ["e", "f"]
    coded = [[b"x", None, b"y"], [b"z"], [b""], None]
    table = pa.table({"item_id": list("abcd"), "image": pa.array(coded, kind(pa.binary()))})
    items = Catalog.from_table(table)
    assert items.raw("image") == [(b"x", b"y"), b"z", None, None]
    items.write(tmp_path / "items.parquet")
    assert Catalog.load(tmp_path / "items.parquet").raw("image") == items.raw("image")


def test_lists_of_pictures_in_jsonl(tmp_path):
    touch(tmp_path, "1.jpg", "2.jpg")
    rows = [
        '{"item_id": "007", "image": ["1.jpg", "2.jpg"]}',
        '{"item_id": "8", "image": ["2.jpg"]}',
    ]
    (tmp_path / "items.jsonl").write_text("\n".join(rows))
    items = Catalog.read(tmp_path / "items.jsonl")
    assert items.item_ids == ["007", "8"]
    assert items.raw("image") == [(tmp_path / "1.jpg", tmp_path / "2.jpg"), tmp_path / "2.jpg"]
    assert items.text == ()


def test_lists_of_anything_else_are_no_pictures(tmp_path):
    with pytest.raises(InputError, match=r"'image' is list<.*int64>; give paths or bytes"):
        Catalog.from_table({"item_id": ["a"], "image": [[1]]}, tmp_path)


def test_names_that_are_not_utf8_are_counted_and_told(tmp_path, caplog):
    touch(tmp_path, "a.jpg")
    try:
        for name in (b"caf\xe9\x1b.jpg", b"d\xe9/b.png", b"\xe9.txt"):
            touch(tmp_path, os.fsdecode(name))
    except OSError:
        pytest.skip("file names are UTF-8 here")
    assert scan(tmp_path) == {"a": ["a.jpg"]}
    assert f"left out below {tmp_path}: 2 pictures with a name that is not UTF-8" in caplog.text
    assert "caf\\xe9\ufffd.jpg, d\\xe9/b.png; rename what" in caplog.text
