from dataclasses import replace

import numpy as np
import pytest

from p5mm.data.catalog import Catalog
from p5mm.data.interactions import Interactions
from p5mm.data.split import LeaveOneOut
from p5mm.demo.findings import NEW, OUTSIDER, Findings
from p5mm.demo.folder import DemoFolder, Settings
from p5mm.demo.movies import CREDIT
from p5mm.demo.report import render
from p5mm.demo.stickers import attribution, draw_outsider
from p5mm.demo.stories import shopper_stories
from p5mm.encoders.base import Features
from p5mm.indexing.catalog_index import CatalogIndex
from p5mm.pages.stories import Search


class Liking:
    """Scores items by colour: the mean colour of the history."""

    def __init__(self, colours):
        self.colours = colours

    def scores(self, histories):
        means = [self.colours[histories[user]].mean(axis=0) for user in range(len(histories))]
        return (np.stack(means) @ self.colours.T).astype(np.float32)


@pytest.fixture
def findings(folder, log, shop, items) -> Findings:
    catalog = Catalog.read(folder / "catalog.parquet")
    paths = DemoFolder(folder)
    draw_outsider(paths.query)
    users, histories = Interactions.read(log).histories(catalog.item_ids)
    ranker = Liking(shop.colours)
    present = np.ones(len(catalog), dtype=bool)
    features = Features("colour", "colour", "1", shop.colours + 0.01, present)
    cases = LeaveOneOut(histories).cases("test")
    return Findings(
        settings=Settings(quick=True),
        folder=paths,
        catalog=catalog,
        index=CatalogIndex.build(catalog, [features]),
        user_ids=users,
        log=histories,
        ranker=ranker,
        shop=shop,
        shoppers=shopper_stories(ranker, cases, users, catalog.item_ids, n=4, k=6),
        searches=[Search("picture", OUTSIDER, catalog.item_ids[:3])],
        models={},
        training_log=[],
    )


def test_the_report_says_what_is_simulated_and_whose_the_drawings_are(findings):
    html = render(findings.report([("draw", 1.0)]))
    assert "These shoppers are simulated." in html
    assert attribution() in html


def test_new_items_are_shown_with_sold_neighbours_and_a_lift(findings, shop, items):
    report = findings.report([])
    new = {items[row].item_id for row in np.flatnonzero(shop.is_new)}
    categories = {shop.category[row] for row in np.flatnonzero(shop.is_new)}
    assert len(report.new_items) == min(NEW, len(categories))
    for story in report.new_items:
        assert story.item_id in new
        assert not new & set(story.nearest)
        assert len(story.shoppers) == 3
    assert "times as much as the average shopper" in report.new_items_note


def test_the_picture_searched_by_is_in_the_report_and_on_the_sheet(findings):
    assert findings.pictures[OUTSIDER].read_bytes() == findings.folder.query.read_bytes()
    assert f'aria-label="{OUTSIDER}"' in render(findings.report([]))
    assert findings.contact_sheet().draw().width > 1000


def test_real_people_are_not_called_simulated(findings):
    report = replace(findings, settings=Settings("movies"), shop=None).report([])
    assert report.simulated is None
    assert not report.new_items
    assert CREDIT in report.credits
