import os

import pytest

from p5mm.data.catalog import Catalog
from p5mm.data.pictures import scan


def touch(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return folder


def test_a_neighbour_does_not_rename_an_item(tmp_path, caplog):
    touch(tmp_path, "1014.png", "sub/a.webp")
    assert scan(tmp_path) == {"1014": "1014.png", "sub/a": "sub/a.webp"}
    assert not caplog.text
    touch(tmp_path, "1014.jpg", "1014.gif")
    assert scan(tmp_path) == {"1014": "1014.jpg", "sub/a": "sub/a.webp"}
    assert "2 pictures are passed over" in caplog.text
    assert "1014.png (used: 1014.jpg), 1014.gif (used: 1014.jpg)" in caplog.text


def test_a_table_says_which_pictures_are_passed_over(tmp_path, caplog):
    touch(tmp_path, "a.jpg", "a.png", "b.jpg", "b.png")
    items = Catalog.from_table({"item_id": ["a"]}, tmp_path)
    assert items.picture("a") == tmp_path / "a.jpg"
    assert "1 pictures are passed over" in caplog.text
    assert "b.png" not in caplog.text


def test_names_that_are_not_utf8_are_counted_and_told(tmp_path, caplog):
    touch(tmp_path, "a.jpg")
    try:
        for name in (b"caf\xe9\x1b.jpg", b"d\xe9/b.png", b"\xe9.txt"):
            touch(tmp_path, os.fsdecode(name))
    except OSError:
        pytest.skip("file names are UTF-8 here")
    assert scan(tmp_path) == {"a": "a.jpg"}
    assert f"2 pictures below {tmp_path} are left out" in caplog.text
    assert "caf\\xe9\ufffd.jpg, d\\xe9/b.png; rename them" in caplog.text
