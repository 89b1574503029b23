import io
import time

import numpy as np
import pytest
from PIL import Image, ImageColor, ImageDraw

from p5mm.pages.contact_sheet import CARD, HIT, PAPER, ContactSheet
from p5mm.pages.stories import Search, Shopper
from p5mm.pages.thumbnails import thumbnail


def png(picture: Image.Image) -> bytes:
    coded = io.BytesIO()
    picture.save(coded, "PNG")
    return coded.getvalue()


def count(sheet: Image.Image, colour: str) -> int:
    return int((np.asarray(sheet) == ImageColor.getrgb(colour)).all(axis=-1).sum())


def sheet(**changes) -> ContactSheet:
    given = {
        "title": "Title",
        "note": "Note",
        "shoppers": [Shopper("ann", list("abcdefghijk"), list("lmnopq"), "n")],
        "searches": [Search("text", "red fruit", list("abc")), Search("item", "a", list("bcd"))],
    }
    return ContactSheet(**{**given, **changes})


def test_hits_have_a_green_frame_and_misses_none():
    hit = count(sheet().draw(), HIT)
    missed = count(sheet(shoppers=[Shopper("ann", list("ab"), list("lm"), "z")]).draw(), HIT)
    assert hit > 2 * 4 * 100 * 4  # two frames of four sides
    assert missed == 0


def test_pictures_are_on_their_tiles():
    pictures = {"n": png(Image.new("RGB", (300, 300), "#0000ff"))}
    drawn = sheet(pictures=pictures).draw()
    side = 112
    assert count(drawn, "#0000ff") == 2 * side * side  # recommended, and truly next


def test_items_without_pictures_are_tiles_of_text():
    long = "A very long title of a film that nobody has a picture of, Part Two: the Unbreakable"
    drawn = sheet(titles=dict.fromkeys("abcdefghijklmnopq", long)).draw()
    assert drawn.mode == "RGB"
    assert count(drawn, CARD) < count(drawn, PAPER)


@pytest.mark.parametrize("title", ["", " ", "Donaudampfschifffahrtsgesellschaft", "満", "a\nb"])
def test_strange_titles(title):
    drawn = sheet(titles={"n": title}).draw()
    assert drawn.size == sheet(titles={"n": "Orange"}).draw().size


def test_more_shoppers_make_a_taller_sheet():
    low, tall = (sheet(shoppers=[Shopper("u", ["a"], ["b"])] * n).draw() for n in (1, 2))
    assert tall.height > low.height
    assert tall.width == low.width


def test_sheet_of_nobody():
    assert sheet(shoppers=[], searches=[]).draw().height > 0


def test_broken_pictures_are_tiles_of_text():
    drawn = sheet(pictures={"n": b"not a picture", "l": png(Image.new("L", (9, 9)))[:40]}).draw()
    assert drawn.width > 0


def test_thumbnail_puts_transparency_on_white():
    small = thumbnail(png(Image.new("RGBA", (40, 20), (0, 0, 0, 0))), 16)
    assert small is not None
    assert small.size == (16, 8)
    assert small.getpixel((0, 0)) == (255, 255, 255)


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "I;16", "LA", "F"])
def test_thumbnails_of_all_modes(mode):
    coded = io.BytesIO()
    Image.new(mode, (30, 30)).save(coded, "TIFF")
    small = thumbnail(coded.getvalue(), 16)
    assert small is not None
    assert small.mode == "RGB"


def test_no_thumbnail_of_what_cannot_be_read(tmp_path):
    assert thumbnail(None, 16) is None
    assert thumbnail(b"", 16) is None
    assert thumbnail(tmp_path / "missing.png", 16) is None
    assert thumbnail(tmp_path, 16) is None


EVIL = "two\r\nlines \u202eevil\x1b[2J \u2028<b>&"


def test_texts_of_strangers_are_drawn_as_one_line(monkeypatch):
    drawn = []
    text = ImageDraw.ImageDraw.text

    def noted(self, at, words, *args, **kwargs):
        drawn.append(words)
        return text(self, at, words, *args, **kwargs)

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", noted)
    titles = dict.fromkeys("abcdefghijklmnopq", EVIL)
    searches = [Search("text", EVIL, ["a"])]
    shoppers = [Shopper(EVIL, ["a"], ["b"], "b")]
    evil = sheet(title=EVIL, note=EVIL, titles=titles, shoppers=shoppers, searches=searches).draw()
    assert evil.size == sheet(shoppers=shoppers, searches=searches).draw().size
    assert "two lines \ufffdevil\ufffd[2J  <b>&" in drawn
    assert not set("\r\x1b\u202e\u2028") & set("".join(drawn))


def test_a_title_of_a_megabyte_is_cut():
    start = time.process_time()
    sheet(titles={"n": "word " * 200_000}).draw()
    assert time.process_time() - start < 5
