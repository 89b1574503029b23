"""Path or bytes to an RGB picture, or a reason why not. Files come from strangers.

The one door for all pictures: encoders and pages come through it, nothing else opens one.
"""

import io
import os
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from p5mm.encoders.values.part import FilePart, check_size

MAX_PIXELS = 89_478_485  # Pillow's own warning limit: a quarter of a gigabyte as RGB
MAX_SCANS = 100  # a progressive JPEG has ten; each is a pass over all pixels
MAX_SCANNED = 20 * MAX_PIXELS  # scans times pixels: some seconds
STRIP = 4_000_000  # pixels that are converted at a time
PILLOW = r"PIL\."  # the modules whose warnings are not passed on
START_OF_SCAN = b"\xff\xda"  # within the coded data of a JPEG an ff is never followed by da

# What Pillow may open. EPS is not here: it would start another program.
Image.init()
FORMATS = tuple(
    {"JPEG", "MPO", "PNG", "GIF", "WEBP", "AVIF", "BMP", "TIFF", "PPM", "JPEG2000", "ICO"}
    & Image.OPEN.keys()
)


def read_picture(raw: Path | bytes | FilePart, at_least: int | None = None) -> Image.Image:
    """An upright RGB picture: first frame, transparency on white, 16 bits scaled to 8.

    Args:
        raw: A path, the bytes of an encoded picture, or where they are in an archive.
        at_least: Sides that are enough for the caller; a JPEG of twice that or more is decoded
            at a half, quarter or eighth of its size, which is several times faster.

    Raises:
        ValueError: It is not a whole, ordinary picture; the message is the reason.
    """
    data = _read_bytes(raw)
    try:
        with _quiet():
            return _decode(data, at_least)
    except MemoryError:
        raise ValueError("there is no memory to decode it") from None
    except ValueError:
        raise
    except Image.DecompressionBombError:
        raise ValueError(f"over {2 * MAX_PIXELS:,} pixels (decompression bomb?)") from None
    except UnidentifiedImageError:
        raise ValueError(f"not a picture ({_looks_like(data)})") from None
    except Exception as error:  # any decoder may fail in any way on a stranger's bytes
        raise ValueError(f"broken picture: {str(error) or type(error).__name__}") from error


def _read_bytes(raw: Path | bytes | FilePart) -> bytes:
    if isinstance(raw, Path | FilePart):
        raw = _read_file(raw)
    if not isinstance(raw, (bytes, bytearray, memoryview)):
        raise ValueError(f"a picture is a path or bytes, not {type(raw).__name__}")
    if not len(raw):
        raise ValueError("empty file (0 bytes)")
    return bytes(raw)


def _read_file(path: Path | FilePart) -> bytes:
    try:
        if isinstance(path, FilePart):
            return path.read()
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            check_size(size)
            return file.read(size or -1)  # of a pipe all
    except MemoryError:
        raise ValueError("there is no memory to read it") from None
    except FileNotFoundError:
        raise ValueError("no such file") from None
    except IsADirectoryError:
        raise ValueError("a folder, not a file") from None
    except PermissionError:
        raise ValueError("no permission to read the file") from None
    except OSError as error:
        raise ValueError(f"cannot read the file: {error.strerror or error}") from error


def _decode(data: bytes, at_least: int | None) -> Image.Image:
    with Image.open(io.BytesIO(data), formats=FORMATS) as picture:
        _refuse_bombs(data, *picture.size)
        if at_least and min(picture.size) >= 4 * at_least:
            picture.draft("RGB", (2 * at_least, 2 * at_least))
        picture.load()
        ImageOps.exif_transpose(picture, in_place=True)
        rgb = to_rgb(picture)
        return picture.copy() if rgb is picture else rgb


def _refuse_bombs(data: bytes, width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise ValueError(
            f"{width} x {height} pixels, over the limit of {MAX_PIXELS:,} (decompression bomb?)"
        )
    if data.startswith(b"\xff\xd8"):
        scans = data.count(START_OF_SCAN)
        if scans > MAX_SCANS or scans * width * height > MAX_SCANNED:
            raise ValueError(f"a JPEG of {scans:,} scans, too many (decompression bomb?)")


def to_rgb(picture: Image.Image) -> Image.Image:
    """Any mode to RGB; what is transparent becomes white."""
    if picture.mode == "RGB" and "transparency" not in picture.info:
        return picture
    if picture.mode.startswith(("I", "F")):
        factor = 255.0 / _white(picture)
        return _by_strips(picture, lambda strip: _eight_bits(strip, factor))
    if picture.has_transparency_data:
        return _by_strips(picture, _on_white)
    return picture.convert("RGB")


def _by_strips(picture: Image.Image, convert: Callable[[Image.Image], Image.Image]) -> Image.Image:
    """A picture converted to RGB by some rows at a time, so that no copies pile up."""
    rows = max(1, STRIP // picture.width)
    if picture.height <= rows:
        return convert(picture)
    whole = Image.new("RGB", picture.size)
    for top, strip in _strips(picture, rows):
        whole.paste(convert(strip), (0, top))
    return whole


def _strips(picture: Image.Image, rows: int) -> Iterator[tuple[int, Image.Image]]:
    for top in range(0, picture.height, rows):
        bottom = min(top + rows, picture.height)
        yield top, picture.crop((0, top, picture.width, bottom))


def _on_white(picture: Image.Image) -> Image.Image:
    picture = picture.convert("RGBA")
    white = Image.new("RGBA", picture.size, "white")
    return Image.alpha_composite(white, picture).convert("RGB")


def _white(picture: Image.Image) -> float:
    """The value that becomes 255: the top of the range that the values seem to have."""
    rows = max(1, STRIP // picture.width)
    tops = [float(np.nanmax(np.asarray(s), initial=0.0)) for _, s in _strips(picture, rows)]
    top = max(tops)
    if picture.mode.startswith("F"):
        return 1.0 if top <= 1.0 else 255.0 if top <= 255.0 else top
    return 65_535.0 if top <= 65_535.0 else top


def _eight_bits(picture: Image.Image, factor: float) -> Image.Image:
    """16-bit, 32-bit and float greys to 8 bits by their range (Pillow's convert clips them)."""
    with np.errstate(invalid="ignore"):  # a signalling NaN is one like any other
        scaled = np.nan_to_num(np.asarray(picture).astype(np.float64)) * factor
    return Image.fromarray(np.round(np.clip(scaled, 0.0, 255.0)).astype(np.uint8)).convert("RGB")


class _Quiet:
    """How many threads are in the door; Pillow's warnings are ignored while there is one.

    Not by ``warnings.catch_warnings``: threads would restore one another's filters.
    """

    lock = threading.Lock()
    inside = 0


@contextmanager
def _quiet() -> Iterator[None]:
    with _Quiet.lock:
        _Quiet.inside += 1
        if _Quiet.inside == 1:
            warnings.filterwarnings("ignore", module=PILLOW)
    try:
        yield
    finally:
        with _Quiet.lock:
            _Quiet.inside -= 1
            if _Quiet.inside == 0:
                _drop_filter()


def _drop_filter() -> None:
    filters: list[tuple[object, ...]] = warnings.filters  # type: ignore[assignment]
    for entry in [e for e in filters if getattr(e[3], "pattern", None) == PILLOW]:
        with suppress(ValueError):
            filters.remove(entry)


def _looks_like(data: bytes) -> str:
    head = data[:512].lstrip().lower()
    if b"<svg" in head:
        return "an SVG drawing; turn it into a PNG first"
    if head.startswith((b"<!doctype html", b"<html")):
        return "an HTML page, perhaps of a failed download"
    if b"\0" not in head and head.isascii():
        return "text"
    return f"begins with {data[:4].hex(' ')}"
