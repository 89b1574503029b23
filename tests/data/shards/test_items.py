import json
import logging

import pytest

from p5mm.data.catalog import Catalog
from p5mm.data.shards.items import pictures_named
from p5mm.errors import InputError


def coded(**fields):
    return json.dumps(fields).encode()


SHARD = {
    "1014.jpg": b"front", "1014.txt": b" Red apple \n",
    "1014.json": coded(price=3, tags=["a"]),
    "f/7.PNG": b"pear", "f/7.json": coded(price=4, caption="not read as text", deep={"x": 1}),
    "8.txt": b"no picture",
}  # fmt: skip


def test_members_of_a_key_are_an_item(tar):
    items = Catalog.read(tar("a.tar", SHARD))
    assert items.item_ids == ["1014", "f/7", "8"]
    assert [p and p.read() for p in items.raw("image")] == [b"front", b"pear", None]
    assert items.raw("text") == ["Red apple", None, "no picture"]
    assert items.titles == ["Red apple", "f/7", "no picture"]
    assert items.table["price"].to_pylist() == [3, 4, None]
    assert items.table["image"].to_pylist() == ["a.tar/1014.jpg", "a.tar/f/7.PNG", None]
    assert "deep" not in items.table.column_names
    assert items.quarantine == ()
    assert Catalog.read(items_path(items), text=["caption"]).text == ("caption",)


def items_path(items):
    return items.pictures[0].archive.path


def test_a_folder_of_shards(tar, tmp_path):
    tar("s/b.tar", {"b.jpg": b"2"})
    tar("s/a.tar", {"a.jpg": b"1", "a.cls": b"7"})
    items = Catalog.read(tmp_path / "s")
    assert items.item_ids == ["a", "b"]
    assert [picture.read() for picture in items.pictures] == [b"1", b"2"]
    assert items.text == ()
    found = pictures_named(["b.tar/b.jpg", "a.tar/../x.jpg", "no.tar/b.jpg"], tmp_path / "s")
    assert {name: part.read() for name, part in found.items()} == {"b.tar/b.jpg": b"2"}


def test_several_pictures_of_a_key(tar):
    shard = {"1.front.jpg": b"f", "1.jpg": b"m", "2.1.jpg": b"x", "2.2.jpg": b"y", "3.jpg": b"z"}
    items = Catalog.read(tar("a.tar", shard))
    first, second, third = items.pictures
    assert [part.read() for part in (*first, *second, third)] == [b"f", b"m", b"x", b"y", b"z"]
    assert items.table["more_images"].to_pylist() == [["a.tar/1.jpg"], ["a.tar/2.2.jpg"], None]


def test_of_two_members_of_a_name_the_later_counts_as_unpacked(tar):
    items = Catalog.read(tar("a.tar", [("a.jpg", b"old"), ("b.jpg", b"b"), ("a.jpg", b"new")]))
    assert [picture.read() for picture in items.pictures] == [b"new", b"b"]


def test_what_is_wrong_with_a_text_is_told_of_its_item(tar):
    big = b"x" * (2**20 + 1)
    shard = {"a.txt": b"\xff\xfe", "b.txt": big, "c.json": b"[1]", "d.json": b"{",
             "e.json": b'{"x": NaN}', "f.json": b'{"x": 99999999999999999999}',
             "g.json": b'{"x": "\\ud800"}', "h.json": b"[" * 100_000,
             "i.json": b'{"item_id": "other", "x": 1}'}  # fmt: skip
    shard |= {f"{key}.jpg": b"p" for key in "abcdefghi"}
    items = Catalog.read(tar("a.tar", shard))
    assert items.item_ids == list("abcdefghi")
    assert [item for item, _ in items.quarantine] == list("abcdefgh")
    assert all(reason.startswith(f"'a.tar/{item}.") for item, reason in items.quarantine)
    assert items.table["x"].to_pylist() == [None] * 8 + [1]
    assert None not in items.raw("image")


def test_a_key_in_two_shards_is_an_error(tar, tmp_path):
    tar("s/a.tar", {"1.jpg": b"1"})
    tar("s/b.tar", {"1.jpg": b"1"})
    with pytest.raises(InputError, match=r"key '1' is in .*a\.tar and in .*b\.tar"):
        Catalog.read(tmp_path / "s")


def test_a_cut_shard_is_used_as_far_as_it_goes(tar, caplog):
    path = tar(
        "a.tar", {"a.jpg": b"a" * 600, "a.txt": b"tea", "b.txt": b"pot", "b.jpg": b"b" * 600}
    )
    data = path.read_bytes()
    path.write_bytes(data[: data.index(b"b" * 600) + 300])
    items = Catalog.read(path)
    assert [p and p.read()[:1] for p in items.raw("image")] == [b"a", None]
    assert items.raw("text") == ["tea", "pot"]
    assert items.quarantine == (("b", "the tar ends in the middle of 'a.tar/b.jpg'"),)
    assert "a.tar is cut or damaged behind 4 files" in caplog.text


def test_other_kinds_are_counted(tar, caplog):
    caplog.set_level(logging.INFO)
    Catalog.read(tar("a.tar", {"a.jpg": b"x", "a.mp3": b"y", "b.mp3": b"z", "README": b""}))
    assert "passed over: 2 .mp3, 1 ." in caplog.text


def test_nothing_to_use_and_pictures_beside(tar, tmp_path):
    with pytest.raises(InputError, match=r"no item is in .*a\.tar; shards have members KEY\.jpg"):
        Catalog.read(tar("a.tar", {"a.mp3": b"x"}))
    with pytest.raises(InputError, match=r"pictures of .* are in the tar; leave --images out"):
        Catalog.read(tar("a.tar", SHARD), images=tmp_path)
    (tmp_path / "x.jpg").write_bytes(b"x")
    with pytest.raises(InputError, match=r"holds pictures and tars \(such as a\.tar\)"):
        Catalog.read(tmp_path)
    (tmp_path / "a.tar").rename(tmp_path / "a.tar.gz")
    assert Catalog.read(tmp_path).item_ids == ["x"]
