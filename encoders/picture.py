"""Path or bytes to an RGB picture, or a reason why not. Files come from strangers."""

import io
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

MAX_PIXELS = 89_478_485  # Pillow's own warning limit: a quarter of a gigabyte as RGB

# What Pillow may open. EPS is not here: it would start another program.
Image.init()
FORMATS = tuple(
    {"JPEG", "MPO", "PNG", "GIF", "WEBP", "AVIF", "BMP", "TIFF", "PPM", "JPEG2000", "ICO"}
    & Image.OPEN.keys()
)


def read_picture(raw: Path | bytes, at_least: int | None = None) -> Image.Image:
    """An upright RGB picture: first frame, transparency on white, 16 bits scaled to 8.

    Args:
        raw: A path, or the bytes of an encoded picture.
        at_least: Sides that are enough for the caller; a JPEG of twice that or more is decoded
            at a half, quarter or eighth of its size, which is several times faster.

    Raises:
        ValueError: It is not a whole, ordinary picture; the message is the reason.
    """
    data = _read_bytes(raw)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            return _decode(data, at_least)
    except ValueError:
        raise
    except Image.DecompressionBombError:
        raise ValueError(f"over {2 * MAX_PIXELS:,} pixels (decompression bomb?)") from None
    except UnidentifiedImageError:
        raise ValueError(f"not a picture ({_looks_like(data)})") from None
    except Exception as error:  # any decoder may fail in any way on a stranger's bytes
        raise ValueError(f"broken picture: {error or type(error).__name__}") from error


def _read_bytes(raw: Path | bytes) -> bytes:
    if isinstance(raw, Path):
        raw = _read_file(raw)
    if not isinstance(raw, (bytes, bytearray, memoryview)):
        raise ValueError(f"a picture is a path or bytes, not {type(raw).__name__}")
    if not len(raw):
        raise ValueError("empty file (0 bytes)")
    return bytes(raw)


def _read_file(path: Path) -> bytes:
    try:
        return path.read_bytes()
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
        width, height = picture.size
        if width * height > MAX_PIXELS:
            raise ValueError(
                f"{width} x {height} pixels, over the limit of {MAX_PIXELS:,} (decompression bomb?)"
            )
        if at_least and min(width, height) >= 4 * at_least:
            picture.draft("RGB", (2 * at_least, 2 * at_least))
        picture.load()
        return to_rgb(ImageOps.exif_transpose(picture))


def to_rgb(picture: Image.Image) -> Image.Image:
    """Any mode to RGB; what is transparent becomes white."""
    if picture.mode == "RGB" and "transparency" not in picture.info:
        return picture
    if picture.mode.startswith(("I", "F")):
        return _eight_bits(picture).convert("RGB")
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        white = Image.new("RGBA", picture.size, "white")
        return Image.alpha_composite(white, picture).convert("RGB")
    return picture.convert("RGB")


def _eight_bits(picture: Image.Image) -> Image.Image:
    """16-bit, 32-bit and float greys to 8 bits by their range (Pillow's convert clips them)."""
    grey = np.asarray(picture).astype(np.float64)
    top = float(np.nanmax(grey, initial=0.0))
    if picture.mode.startswith("F"):
        white = 1.0 if top <= 1.0 else 255.0 if top <= 255.0 else top
    else:
        white = 65_535.0 if top <= 65_535.0 else top
    scaled = np.clip(np.nan_to_num(grey) * (255.0 / white), 0.0, 255.0)
    return Image.fromarray(np.round(scaled).astype(np.uint8))


def _looks_like(data: bytes) -> str:
    head = data[:512].lstrip().lower()
    if b"<svg" in head:
        return "an SVG drawing; turn it into a PNG first"
    if head.startswith((b"<!doctype html", b"<html")):
        return "an HTML page, perhaps of a failed download"
    if b"\0" not in head and head.isascii():
        return "text"
    return f"begins with {data[:4].hex(' ')}"
