"""One HTML page for near-duplicates: a row a group, with the pictures."""

from collections.abc import Sequence
from pathlib import Path

from p5mm.indexing.catalog_index import CatalogIndex
from p5mm.indexing.duplicates import Group
from p5mm.indexing.search_page import item_pictures
from p5mm.pages.page import render_page

GROUPS, TILES = 300, 24


def duplicates_page(
    groups: Sequence[Group],
    index: CatalogIndex,
    threshold: float,
    images: Path | None,
    credits: Sequence[str],
) -> str:
    """One HTML file that is whole in itself.

    Args:
        groups: The surest first; the first 300 are shown, of each the first 24 items.
        index: Titles of the items.
        threshold: Cosine from which items are alike, for the text.
        images: The folder that the pictures' files are below; None shows titles alone.
        credits: Lines of the footer.
    """
    shown = [item for group in groups[:GROUPS] for item in group.item_ids[:TILES]]
    return render_page(
        "duplicates.html.j2",
        title="Near-duplicates",
        shown=shown,
        titles={item: index.title(item) for item in shown},
        pictures=item_pictures(index, shown, images) if images is not None and shown else {},
        credits=credits,
        groups=groups[:GROUPS],
        count=len(groups),
        items=sum(len(group.item_ids) for group in groups),
        tiles=TILES,
        threshold=threshold,
    )
