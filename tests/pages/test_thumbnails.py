"""Thumbnails of strangers' pictures: through the one door, or none at all."""

import io
import re
import struct
import subprocess
import zlib
from pathlib import Path

import pytest
from PIL import EpsImagePlugin, Image

import p5mm
from p5mm.demo.colours import colour_shares
from p5mm.encoders import picture as door
from p5mm.errors import InputError
from p5mm.pages import thumbnails
from p5mm.pages.contact_sheet import ContactSheet
from p5mm.pages.page import render_page
from p5mm.pages.stories import Shopper
from p5mm.pages.thumbnails import thumbnail

EPS = b"""%!PS-Adobe-3.0 EPSF-3.0
%%BoundingBox: 0 0 40 40
%%EndComments
0 0 40 40 rectfill
%%EOF
"""


def avif() -> bytes:
    coded = io.BytesIO()
    Image.effect_noise((64, 64), 90).convert("RGB").save(coded, "AVIF")
    return coded.getvalue()


def bomb() -> bytes:
    """A PNG of 50,000 x 50,000 pixels in a few bytes."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        )

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.fixture
def no_programs(monkeypatch):
    """Ghostscript, or any other program, must not be started."""

    def refuse(*_, **__):
        raise AssertionError("a picture started a program")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", refuse)


def test_an_eps_named_png_starts_no_program(tmp_path, no_programs):
    path = tmp_path / "picture.png"
    path.write_bytes(EPS)
    with Image.open(path) as opened:
        assert opened.format == "EPS"  # Pillow alone would take it for one
    assert thumbnail(path, 32) is None
    assert thumbnail(EPS, 32) is None


@pytest.mark.skipif("AVIF" not in door.FORMATS, reason="this Pillow reads no AVIF")
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_truncated_avif_is_no_thumbnail(share):
    whole = avif()
    small = thumbnail(whole, 32)
    assert small is not None
    assert small.size == (32, 32)
    assert thumbnail(whole[: int(share * len(whole))], 32) is None


def test_a_decompression_bomb_is_no_thumbnail():
    assert thumbnail(bomb(), 32) is None


@pytest.mark.parametrize(
    "error", [MemoryError, RuntimeError, OSError, SyntaxError, ZeroDivisionError]
)
def test_a_decoder_may_fail_in_any_way(monkeypatch, error):
    coded = io.BytesIO()
    Image.new("RGB", (8, 8)).save(coded, "PNG")

    def fail(*_, **__):
        raise error("no more")

    assert thumbnail(coded.getvalue(), 4) is not None
    monkeypatch.setattr(door.Image, "open", fail)
    assert thumbnail(coded.getvalue(), 4) is None


def test_pages_and_sheets_of_broken_pictures_show_their_titles(no_programs):
    broken = {"a": EPS, "b": avif()[:200], "c": bomb(), "d": b""}
    shoppers = [Shopper("ann", list("abcd"), ["a"], "a")]
    assert ContactSheet("t", "n", shoppers, pictures=broken).draw().height > 0
    page = render_page(
        "page.html.j2", title="t", shown="abcd", titles={}, pictures=broken, credits=[]
    )
    assert "<symbol" not in page


def test_pictures_keep_their_size_where_they_are_not_to_be_enlarged():
    coded = io.BytesIO()
    Image.new("RGB", (30, 20)).save(coded, "PNG")
    small, large = (thumbnail(coded.getvalue(), 90, enlarge) for enlarge in (False, True))
    assert small is not None
    assert large is not None
    assert (small.size, large.size) == ((30, 20), (90, 60))


@pytest.mark.parametrize("size", [(1, 8000), (8000, 1), (1, 1)])
def test_a_line_of_pixels_has_a_thumbnail_that_can_be_embedded(size):
    coded = io.BytesIO()
    Image.new("RGB", size).save(coded, "PNG")
    small = thumbnail(coded.getvalue(), 96)
    assert small is not None
    assert small.size == (1 if size[0] < size[1] else 96, 1 if size[1] < size[0] else 96)
    page = render_page(
        "page.html.j2",
        title="t",
        shown="a",
        titles={},
        pictures={"a": coded.getvalue()},
        credits=[],
    )
    assert page.count("<symbol") == 1


def test_a_broken_drawing_of_the_demo_is_named(tmp_path):
    (tmp_path / "1F34E.png").write_bytes(EPS)
    with pytest.raises(InputError, match=r"1F34E\.png: not a picture.*delete it"):
        colour_shares([tmp_path / "1F34E.png"])


def test_nothing_else_opens_pictures():
    sources = list(Path(p5mm.__file__).parent.rglob("*.py"))
    assert Path(thumbnails.__file__) in sources
    assert [path for path in sources if re.search(r"Image\s*\.\s*open", path.read_text())] == [
        path for path in sources if path == Path(door.__file__)
    ]
