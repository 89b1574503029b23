"""How alike copies of a picture are, and how alike other pictures: where near-duplicates begin.

    python benchmarks/duplicates.py [--pictures FOLDER] [--sample 250] [--spec embedded]

Each picture is compared with itself saved anew, made smaller, cropped and brightened, and with the
nearest other picture. Prints one table: shares above a cosine.
"""

import argparse
import io
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from p5mm.encoders.build import make_encoder
from p5mm.encoders.encode import encode_items

POSTERS = Path(__file__).parents[2] / "shared" / "data" / "ml-100k" / "posters"
COSINES = (0.8, 0.85, 0.9, 0.95, 0.97)


def main() -> None:
    """Encode pictures and their copies, and print how alike they are."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=Path, default=POSTERS)
    parser.add_argument("--sample", type=int, default=250)
    parser.add_argument("--spec", default="embedded")
    given = parser.parse_args()
    files = sorted(given.pictures.glob("*.jpg"))
    files = random.Random(0).sample(files, min(given.sample, len(files)))
    pictures = [Image.open(file).convert("RGB") for file in files]
    encoder = make_encoder(given.spec, "image")

    def unit(raws: list[bytes]) -> NDArray[np.float32]:
        vectors = encode_items(encoder, given.spec, raws).vectors
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    own = unit([file.read_bytes() for file in files])
    alike = own @ own.T
    np.fill_diagonal(alike, -1)
    print(row("", [f"> {cosine:g}" for cosine in COSINES]))
    print(row("---", ["---"] * len(COSINES)))
    for name, copy in COPIES.items():
        cosines = (unit([copy(picture) for picture in pictures]) * own).sum(axis=1)
        print(row(name, shares(cosines)))
    print(row("the nearest other picture", shares(alike.max(axis=1))))


def saved(picture: Image.Image, quality: int = 85) -> bytes:
    """A picture as JPEG."""
    coded = io.BytesIO()
    picture.save(coded, "JPEG", quality=quality)
    return coded.getvalue()


def cropped(picture: Image.Image) -> bytes:
    """A picture without a twentieth at each edge."""
    w, h = picture.size
    return saved(picture.crop((w // 20, h // 20, w - w // 20, h - h // 20)))


COPIES: dict[str, Callable[[Image.Image], bytes]] = {
    "saved at JPEG quality 50": lambda picture: saved(picture, 50),
    "15 % brighter": lambda picture: saved(picture.point(lambda v: min(255, int(1.15 * v)))),
    "without a twentieth at each edge": cropped,
    "at half the size": lambda picture: saved(picture.reduce(2)),
}


def shares(cosines: NDArray[np.float32]) -> list[str]:
    """Shares above each cosine."""
    return [f"{(cosines > cosine).mean():.1%}" for cosine in COSINES]


def row(name: str, cells: list[str]) -> str:
    """A line of a table in Markdown."""
    return f"| {name} | {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
