"""What the demo found out: its contact sheet, and its report's data."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from p5mm import __version__
from p5mm.data.catalog import Catalog
from p5mm.data.histories import Histories
from p5mm.data.pictures import Picture
from p5mm.demo.folder import DemoFolder, Settings
from p5mm.demo.movies import CREDIT
from p5mm.demo.report import ReportData
from p5mm.demo.shoppers import MODEL, Ints, Shop
from p5mm.demo.stickers import attribution
from p5mm.demo.stories import new_item_stories, places, unseen_scores
from p5mm.demo.truth import OFFERED, new_item_lift
from p5mm.indexing.catalog_index import CatalogIndex
from p5mm.metrics.ranker import Ranker
from p5mm.pages.contact_sheet import ContactSheet
from p5mm.pages.stories import NewItem, Search, Shopper

OUTSIDER = "a drawing that is not in the catalog"
TITLES = {
    "stickers": "A sticker shop, and what its shoppers would like next",
    "movies": "Films, and what their viewers would like next",
}
NOTES = {
    "stickers": "Simulated shoppers, real drawings (OpenMoji, CC BY-SA 4.0)",
    "movies": "Real people's ratings (MovieLens); there are no pictures, only titles",
}
ABOUT = (
    "Pictures and names go in, recommendations come out. Encoders make a vector of every picture "
    "and every text; projected into the token space of a small T5, the vectors are soft prompts. "
    "The T5 reads what somebody took, a retriever finds candidates, and the T5 ranks them."
)
NEW = 5


@dataclass(frozen=True)
class Findings:
    """Everything that the demo found out.

    Attributes:
        settings: What was run.
        folder: Where it lies.
        catalog: The items, with pictures.
        index: The index that searches them.
        user_ids: The shoppers, in rows.
        log: Whole histories, in rows of the catalog.
        ranker: The trained model, for the whole catalog.
        shop: The truth; None for real people.
        shoppers: Stories of some shoppers.
        searches: What the index found.
        models: Metrics with intervals, as ``p5mm evaluate --json`` writes them.
        training_log: One mapping an epoch.
    """

    settings: Settings
    folder: DemoFolder
    catalog: Catalog
    index: CatalogIndex
    user_ids: Sequence[str]
    log: Histories
    ranker: Ranker
    shop: Shop | None
    shoppers: Sequence[Shopper]
    searches: Sequence[Search]
    models: Mapping[str, Mapping[str, Mapping[str, float]]]
    training_log: Sequence[Mapping[str, float]]

    @cached_property
    def titles(self) -> dict[str, str]:
        """Short names by item."""
        return dict(zip(self.catalog.item_ids, self.catalog.titles, strict=True)) | {
            OUTSIDER: OUTSIDER
        }

    @cached_property
    def pictures(self) -> dict[str, Picture]:
        """Pictures by item, and the one that was searched by."""
        query = {OUTSIDER: self.folder.query} if self.folder.query.exists() else {}
        each = ((item, self.catalog.picture(item)) for item in self.catalog.item_ids)
        return {**query, **{item: picture for item, picture in each if picture is not None}}

    def contact_sheet(self) -> ContactSheet:
        """Some shoppers and the searches on one picture."""
        return ContactSheet(
            TITLES[self.settings.data],
            NOTES[self.settings.data],
            self.shoppers,
            self.searches,
            self.titles,
            self.pictures,
        )

    def report(self, timings: Sequence[tuple[str, float]]) -> ReportData:
        """The report's data."""
        new_items, note = self._new_items(self.shop) if self.shop else ([], "")
        simulated = self.shop is not None
        return ReportData(
            title=TITLES[self.settings.data],
            about=ABOUT,
            simulated=MODEL if simulated else None,
            facts=self._facts(),
            shoppers=[
                Shopper(s.user_id, s.history[-8:], s.recommended, s.truth) for s in self.shoppers
            ],
            shoppers_note="Chosen to show hits and misses alike; how often it hits stands below.",
            searches=self.searches,
            models=self.models,
            training_log=self.training_log,
            new_items=new_items,
            new_items_note=note,
            quarantine=[(bad.item_id, bad.reason) for bad in self.index.quarantine],
            timings=timings,
            titles=self.titles,
            pictures=self.pictures,
            credits=[attribution() if simulated else CREDIT, f"Made by p5mm {__version__}."],
        )

    def _facts(self) -> list[tuple[str, str]]:
        what = (
            ("stickers", "shoppers", "stickers taken")
            if self.shop
            else ("films", "people", "ratings")
        )
        numbers = (len(self.catalog), len(self.log), len(self.log.items))
        facts = [(f"{number:,}", name) for number, name in zip(numbers, what, strict=True)]
        if self.shop:
            facts.append((f"{int(self.shop.is_new.sum()):,}", "of them new: never sold"))
        return facts

    def _new_items(self, shop: Shop) -> tuple[list[NewItem], str]:
        """Stories of some new items, and what became of all of them."""
        rows = np.flatnonzero(shop.is_new)
        ranks = places(unseen_scores(self.ranker, self.log), rows)
        lift = new_item_lift(shop, self.log, ranks)
        note = (
            f"{len(rows)} stickers are in the catalog and were never sold; the model knows their "
            f"pictures and names, and nothing else. {int((ranks < 10).any(axis=0).sum())} of them "
            f"are among the first ten of somebody. The {OFFERED} shoppers to whom the model would "
            f"offer such a sticker first want it, by their true tastes, {lift.model:.1f} times as "
            f"much as the average shopper does; the best possible choice of {OFFERED} shoppers "
            f"reaches {lift.perfect:.1f}, chance 1."
        )
        shown = _one_a_category(shop.category[rows])
        new = [(self.catalog.item_ids[row], self._nearest(row, shop)) for row in rows[shown]]
        return new_item_stories(
            new, ranks[:, shown], self.log, self.user_ids, self.catalog.item_ids
        ), note

    def _nearest(self, row: int, shop: Shop, k: int = 6) -> list[str]:
        sold = {
            item for item, new in zip(self.catalog.item_ids, shop.is_new, strict=True) if not new
        }
        hits = self.index.search_item(self.catalog.item_ids[row], 10 * k)
        return [hit.item_id for hit in hits if hit.item_id in sold][:k]


def _one_a_category(category: Ints) -> Ints:
    """Places of the first item of some categories, evenly spread."""
    firsts = np.sort(np.unique(category, return_index=True)[1])
    return firsts[np.unique(np.linspace(0, len(firsts) - 1, NEW).astype(np.int64))]
