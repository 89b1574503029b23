"""The demo from the first picture to the report; each step stands on what lies on disk."""

import json
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from p5mm.baselines.base import Ranker
from p5mm.catalog_index import CatalogIndex
from p5mm.config import Config, read_config
from p5mm.dataset import Dataset, open_dataset
from p5mm.demo.clock import Clock
from p5mm.demo.files import whole
from p5mm.demo.folder import Data, DemoFolder, Settings
from p5mm.demo.shoppers import Shop
from p5mm.demo.sources import make_data
from p5mm.demo.stories import shopper_stories
from p5mm.demo.telling import OUTSIDER, Findings
from p5mm.demo.truth import oracle_metrics
from p5mm.evaluation import evaluate, fit_baselines
from p5mm.index_commands import index
from p5mm.recommender import Recommender
from p5mm.report import Search, render
from p5mm.split import LeaveOneOut

SHOPPERS, RECOMMENDED, HITS, TOP = 8, 6, 12, 10
WORDS = {"stickers": "red fruit", "movies": "toys that come alive"}
ITEM = {"stickers": "1F680", "movies": "1"}


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
    shop = make_data(folder, settings, clock)
    with clock.step("index the catalog", "a minute at most"):
        found = index(folder.catalog, folder.index, align=data == "stickers")
    with clock.step("search it", "seconds"):
        searches = _search(found, folder, settings)
    config = _config(folder, settings)
    dataset = open_dataset(config.data)
    with clock.step("train the model", "some minutes"):
        recommender = _train(dataset, config, folder)
    user_ids, log = dataset.interactions.histories(dataset.catalog.item_ids)
    split = LeaveOneOut(log)
    with clock.step("evaluate it beside the baselines", "a minute or two"):
        rankers = _rankers(recommender, split, dataset, folder, seed)
        models = _evaluate(rankers, split, dataset, shop, folder, seed)
    with clock.step("recommend for all", "seconds"):
        with whole(folder.recommendations) as part:
            pq.write_table(recommender.recommend(k=TOP), part)
        shoppers = shopper_stories(
            rankers["p5mm"],
            split.cases("test"),
            user_ids,
            dataset.catalog.item_ids,
            SHOPPERS,
            RECOMMENDED,
        )
    findings = Findings(
        settings, folder, dataset.catalog, found, user_ids, log, rankers["p5mm"], shop,
        shoppers, searches, models, recommender.training_log,
    )  # fmt: skip
    _tell(findings, clock)
    return folder.report


def _search(found: CatalogIndex, folder: DemoFolder, settings: Settings) -> list[Search]:
    """Search by words, by a picture from outside the catalog where there is one, and by an item."""
    words, item = WORDS[settings.data], ITEM[settings.data]
    hits = {("text", words): found.search_text(words, HITS)}
    if folder.query.exists():
        hits["picture", OUTSIDER] = found.search_picture(folder.query, HITS)
    hits["item", item] = found.search_item(item, HITS)
    return [Search(kind, query, [h.item_id for h in some]) for (kind, query), some in hits.items()]


def _tell(findings: Findings, clock: Clock) -> None:
    """Write the contact sheet and the report; say where they are and where the time went."""
    folder = findings.folder
    with clock.step("contact sheet and report", "seconds"), whole(folder.contact_sheet) as part:
        # flat drawings: a palette saves two thirds of the file
        findings.contact_sheet().draw().quantize(256, dither=Image.Dither.NONE).save(part)
        report = findings.report(clock.timings)
    with whole(folder.report) as part:
        part.write_text(render(report), encoding="utf-8")
    print(clock, file=sys.stderr)
    for path in (folder.recommendations, folder.contact_sheet, folder.report):
        print(path)
