"""The demo from the first picture to the report; each step stands on what lies on disk."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import pyarrow.parquet as pq
from PIL import Image

from p5mm.config import Config, EncoderConfig
from p5mm.data.catalog import Catalog
from p5mm.data.dataset import open_dataset
from p5mm.data.split import LeaveOneOut
from p5mm.demo.clock import Clock
from p5mm.demo.findings import OUTSIDER, Findings
from p5mm.demo.folder import Data, DemoFolder, Settings
from p5mm.demo.report import render
from p5mm.demo.shoppers import Shop
from p5mm.demo.sources import make_data
from p5mm.demo.stories import shopper_stories
from p5mm.demo.truth import oracle_metrics
from p5mm.errors import shown
from p5mm.evaluation.model_report import evaluate_model
from p5mm.files import whole_file
from p5mm.indexing.build import build_index
from p5mm.indexing.catalog_index import CatalogIndex
from p5mm.pages.stories import Search
from p5mm.presets import read_config
from p5mm.serving.recommender import Recommender

Metrics = dict[str, dict[str, dict[str, float]]]

SHOPPERS, RECOMMENDED, HITS, TOP = 8, 6, 12, 10
WORDS = {"stickers": "red fruit", "movies": "toys that come alive"}
ITEM = {"stickers": "1F680", "movies": "1"}
QUICK = ("--train.epochs", "12", "--train.positions", "512", "--train.warmup", "20")


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
    with clock.step("index", "encode once, align: a minute at most"):
        catalog = Catalog.read(folder.catalog)
        build_index(catalog, folder.index, EncoderConfig(), align=data == "stickers")
        index = CatalogIndex.load(folder.index)
    with clock.step("search", "seconds"):
        searches = search_all(index, folder, settings)
    with clock.step("train", "seconds" if quick else "minutes; an interrupted training goes on"):
        recommender = train(folder, settings)
    with clock.step("evaluate", "train the baselines too: a minute or two"):
        models = evaluate_all(recommender, shop, folder, seed)
    with clock.step("recommend for all", "seconds"), whole_file(folder.recommendations) as part:
        pq.write_table(recommender.recommend(k=TOP), part)
    write_pages(gather(settings, folder, index, recommender, shop, searches, models), clock)
    return folder.report


def search_all(index: CatalogIndex, folder: DemoFolder, settings: Settings) -> list[Search]:
    """Search by words, by a picture from outside the catalog where there is one, by an item."""
    words, item = WORDS[settings.data], ITEM[settings.data]
    if item not in index.catalog.rows:
        item = index.item_ids[0]
    hits = {("text", words): index.search_text(words, HITS)}
    if folder.query.exists():
        hits["picture", OUTSIDER] = index.search_picture(folder.query, HITS)
    hits["item", item] = index.search_item(item, HITS)
    for (kind, query), some in hits.items():
        names = [index.catalog.titles[index.catalog.rows[hit.item_id]] for hit in some[:6]]
        print(shown(f"by {kind}, {query}: {', '.join(names)}"), file=sys.stderr)
    return [Search(kind, query, [h.item_id for h in some]) for (kind, query), some in hits.items()]


def train(folder: DemoFolder, settings: Settings) -> Recommender:
    """The trained model: from disk where a run finished it, else trained on, then saved."""
    if (folder.model / "config.json").exists():
        return Recommender.load(folder.model)
    config = demo_config(folder, settings)
    dataset = open_dataset(config.data)
    recommender = Recommender.fit(dataset, config, checkpoint=folder.training)
    recommender.save(folder.model)
    return recommender


def demo_config(folder: DemoFolder, settings: Settings) -> Config:
    """The preset of the data, in the demo's folder."""
    overrides = ["--data.root", str(folder.root), "--train.seed", str(settings.seed)]
    return read_config(settings.data, [*overrides, *(QUICK if settings.quick else ())])


def evaluate_all(
    recommender: Recommender, shop: Shop | None, folder: DemoFolder, seed: int
) -> Metrics:
    """Metrics of the model, its retriever, the baselines and, where there is one, the truth."""
    report = evaluate_model(recommender.model, "test", folder.baselines)
    print(report.table(), file=sys.stderr)
    with whole_file(folder.evaluation) as part:
        part.write_text(json.dumps(report.to_json(), indent=2), encoding="utf-8")
    models: Metrics = report.to_json()["models"]
    if shop is not None:
        cases = recommender.model.split.cases("test")
        truth = oracle_metrics(shop, cases, recommender.model.rows, seed)
        models["oracle"] = {name: mean.to_json() for name, mean in truth.items()}
    return models


def gather(
    settings: Settings,
    folder: DemoFolder,
    index: CatalogIndex,
    recommender: Recommender,
    shop: Shop | None,
    searches: Sequence[Search],
    models: Metrics,
) -> Findings:
    """All findings in one place, with stories of some shoppers."""
    model = recommender.model
    shoppers = shopper_stories(
        model.scorer,
        LeaveOneOut(model.histories).cases("test"),
        model.user_ids,
        model.catalog.item_ids,
        SHOPPERS,
        RECOMMENDED,
    )
    return Findings(
        settings=settings,
        folder=folder,
        catalog=Catalog.read(folder.catalog),  # a saved model knows no picture files
        index=index,
        user_ids=model.user_ids,
        log=model.histories,
        ranker=model.scorer,
        shop=shop,
        shoppers=shoppers,
        searches=searches,
        models=models,
        training_log=model.training_log,
    )


def write_pages(findings: Findings, clock: Clock) -> None:
    """Write the contact sheet and the report; say where they are and where the time went."""
    folder = findings.folder
    with clock.step("contact sheet and report", "seconds"):
        with whole_file(folder.contact_sheet) as part:
            # flat drawings: a palette saves two thirds of the file
            sheet = findings.contact_sheet().draw()
            sheet.quantize(256, dither=Image.Dither.NONE).save(part)
        report = findings.report(clock.timings)
    with whole_file(folder.report) as part:
        part.write_text(render(report), encoding="utf-8")
    print(clock, file=sys.stderr)
    for path in (folder.recommendations, folder.contact_sheet, folder.report):
        print(path)
