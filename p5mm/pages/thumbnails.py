"""Small pictures of items for sheets and reports."""

from PIL import Image

from p5mm.data.pictures import Picture
from p5mm.encoders.picture import read_picture


def thumbnail(picture: Picture | None, size: int, enlarge: bool = True) -> Image.Image | None:
    """A picture on white that fits a square of ``size`` pixels; None where there is none to show.

    What cannot be read is None too: it stands in quarantine already, and a sheet shows the rest.

    Args:
        picture: Path or bytes, of strangers.
        size: Pixels of the square's side.
        enlarge: Whether a smaller picture is drawn larger than it is.
    """
    if picture is None:
        return None
    try:
        whole = read_picture(picture, at_least=size)
    except ValueError:
        return None
    scale = size / max(whole.size)
    if scale >= 1 and not enlarge:
        return whole
    width, height = (max(1, round(scale * side)) for side in whole.size)
    return whole.resize((width, height), Image.Resampling.LANCZOS)
