"""Small pictures of items for sheets and reports."""

import io

from PIL import Image, ImageOps

from p5mm.data.pictures import Picture


def thumbnail(picture: Picture | None, size: int) -> Image.Image | None:
    """A picture on white that fits a square of ``size`` pixels; None where there is none to show.

    A broken picture is None too: it stands in quarantine already, and a sheet shows the rest.
    """
    if picture is None:
        return None
    try:
        with Image.open(io.BytesIO(picture) if isinstance(picture, bytes) else picture) as opened:
            opened.draft("RGB", (size, size))
            small = ImageOps.exif_transpose(opened).convert("RGBA")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    small = ImageOps.contain(small, (size, size), Image.Resampling.LANCZOS)
    paper = Image.new("RGBA", small.size, "white")
    return Image.alpha_composite(paper, small).convert("RGB")
