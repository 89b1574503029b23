from pathlib import Path

import pytest

from p5mm.demo.colours import colour_shares
from p5mm.demo.shoppers import open_shop, simulate, write_log
from p5mm.demo.stickers import draw_pictures, stickers, write_catalog


@pytest.fixture(scope="session")
def items():
    return stickers(limit=50)


@pytest.fixture(scope="session")
def folder(tmp_path_factory, items) -> Path:
    """A shop of 50 stickers on disk."""
    out = tmp_path_factory.mktemp("shop")
    write_catalog(out, items)
    draw_pictures(out, items)
    return out


@pytest.fixture(scope="session")
def shop(folder, items):
    colours = colour_shares([folder / "pictures" / f"{s.item_id}.png" for s in items])
    return open_shop([s.category for s in items], colours, shoppers=200, seed=3)


@pytest.fixture(scope="session")
def taken(shop):
    return simulate(shop, seed=3)


@pytest.fixture(scope="session")
def log(folder, shop, taken, items) -> Path:
    return write_log(folder, shop, taken, [s.item_id for s in items], seed=3)
