"""Which colours a picture shows: what a drawing says and its name does not."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from p5mm.encoders.picture import read_picture
from p5mm.errors import InputError

SHADES = {
    "red": ("ea5a47", "d22f27", "781e32"),
    "orange": ("f4aa41", "e27022"),
    "yellow": ("fcea2b", "f1b31c"),
    "green": ("b1cc33", "5c9e31", "186648"),
    "blue": ("92d3f5", "61b2e4", "1e50a0"),
    "purple": ("8967aa", "b399c8"),
    "pink": ("ffa7c0", "e67a94"),
    "brown": ("a57939", "6a462f", "c19a65"),
    "grey": ("d0cfce", "9b9b9a"),
    "paper and ink": ("ffffff", "000000", "3f3f3f"),
}
"""OpenMoji's own palette, by the name of the colour."""

COLOURS = tuple(name for name in SHADES if name != "paper and ink")


def colour_shares(pictures: Sequence[Path]) -> NDArray[np.float32]:
    """How much of each picture's coloured area has each of ``COLOURS``.

    Returns:
        ``[n, colours]`` float32, rows sum to 1; rows of drawings in paper and ink only are zero.

    Raises:
        InputError: A picture cannot be read.
    """
    return np.stack([_shares(path) for path in pictures]).astype(np.float32)


def _shares(path: Path) -> NDArray[np.float64]:
    try:
        picture = read_picture(path)
    except ValueError as reason:
        raise InputError(f"{path}: {reason}; delete it, and the demo draws it anew") from reason
    small = picture.resize((32, 32), Image.Resampling.NEAREST)
    pixels = np.asarray(small, dtype=np.float32).reshape(-1, 1, 3)
    nearest = np.square(pixels - _PALETTE).sum(axis=-1).argmin(axis=1)
    counts = np.bincount(_COLOUR_OF_SHADE[nearest], minlength=len(SHADES))[: len(COLOURS)]
    shares: NDArray[np.float64] = counts / max(counts.sum(), 1)
    return shares


_PALETTE = np.array(
    [list(bytes.fromhex(shade)) for shades in SHADES.values() for shade in shades], dtype=np.float32
)
_COLOUR_OF_SHADE = np.repeat(np.arange(len(SHADES)), [len(shades) for shades in SHADES.values()])
