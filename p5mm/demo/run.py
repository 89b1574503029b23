"""The demo from the first picture to the report, each step on what the one before left on disk."""

import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from p5mm import __version__
from p5mm.baselines.base import Ranker
from p5mm.catalog import Catalog
from p5mm.catalog_index import CatalogIndex
from p5mm.contact_sheet import ContactSheet
from p5mm.dataset import Dataset
from p5mm.demo.clock import Clock
from p5mm.demo.colours import colour_shares
from p5mm.demo.files import whole
from p5mm.demo.folder import Data, DemoFolder, Settings
from p5mm.demo.movies import CREDIT, write_movies
from p5mm.demo.shoppers import MODEL, Shop, open_shop, simulate, write_log
from p5mm.demo.stickers import attribution, draw_outsider, draw_pictures, stickers, write_catalog
from p5mm.demo.stories import new_item_stories, places, shopper_stories, unseen_scores
from p5mm.demo.truth import new_item_lift, oracle_metrics
from p5mm.evaluation import evaluate, fit_baselines
from p5mm.histories import Histories
from p5mm.index_commands import index
from p5mm.pictures import Picture
from p5mm.report import NewItem, ReportData, Search, Shopper, render
from p5mm.split import LeaveOneOut

OUTSIDER = "a drawing that is not in the catalog"
ABOUT = (
    "Pictures and names go in, recommendations come out. Encoders make a vector of every picture "
    "and every text; projected into the token space of a small T5 they are soft prompts. The T5 "
    "reads what a shopper took, a retriever finds candidates, and the T5 ranks them."
)
SEARCHES = {"stickers": ("red fruit", "1F680"), "movies": ("toys come alive", "1")}
SHOPPERS, HISTORY, RECOMMENDED, HITS, NEW = 8, 8, 6, 12, 5


def run_demo(
    out: str | Path = "p5mm-demo", data: Data = "stickers", seed: int = 0, quick: bool = False
) -> Path:
    """Run the whole road on embedded data; what is on disk already is not made again.

    Args:
        out: The demo's folder: new, empty, or one that an earlier run began.
        data: "stickers" (real drawings, simulated shoppers) or "movies" (real people, text only).
        seed: Of the shoppers and of the training.
        quick: A small shop and a short training.

    Returns:
        The path of the report.

    Raises:
        InputError: The folder holds something else, or a package of the extra ``demo`` is missing.
    """
    settings = Settings(data, seed, quick)
    folder = DemoFolder.claim(Path(out), settings)
    clock = Clock()
    shop = _open_stickers(folder, settings, clock) if data == "stickers" else None
    if data == "movies":
        with clock.step("movies", "seconds"):
            write_movies(folder.root)
    found = _open_index(folder, clock, align=data == "stickers")
    with clock.step("search", "seconds"):
        searches = _search(found, folder, settings)
