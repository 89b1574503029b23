"""One HTML page for an explanation: history, arrows, item, and what each arrow carries."""

from collections.abc import Container
from dataclasses import dataclass

from p5mm import __version__
from p5mm.data.catalog import Catalog
from p5mm.pages.page import render_page
from p5mm.serving.explanation import Explanation, Reason

ARROWS = 10
ROW, LEFT, PICTURED, RIGHT = 76, 396, 470, 800  # pixels of the drawing
THICKEST, THINNEST = 16.0, 1.0


@dataclass(frozen=True)
class Arrow:
    """A line from an item of the history to the item explained.

    Attributes:
        reason: What it stands for.
        y: Where it begins, in pixels.
        path: Of the line, as SVG has it.
        width: In pixels, in proportion to what the item carries.
    """

    reason: Reason
    y: float
    path: str
    width: float


def explanation_page(explanation: Explanation, catalog: Catalog) -> str:
    """One HTML file that is whole in itself.

    Args:
        explanation: Of one item for one user.
        catalog: Titles, and pictures where it has them.
    """
    titles = dict(zip(catalog.item_ids, catalog.titles, strict=True))
    shown = [explanation.item_id, *(reason.item_id for reason in explanation.reasons)]
    pictures = {
        item: picture
        for item in shown
        if item in catalog.rows and (picture := catalog.picture(item)) is not None
    }
    arrows = drawn(explanation, pictures)
    return render_page(
        "explanation.html.j2",
        title=f"Why {titles.get(explanation.item_id) or explanation.item_id}?",
        shown=shown,
        titles=titles,
        pictures=pictures,
        credits=[f"Made by p5mm {__version__}."],
        told=explanation,
        arrows=arrows,
        middle=(len(arrows) * ROW) / 2,
        right=RIGHT,
        most=max((abs(reason.carries) for reason in explanation.reasons), default=0.0) or 1.0,
        looked=max((reason.attention for reason in explanation.reasons), default=0.0) or 1.0,
    )


def drawn(explanation: Explanation, pictured: Container[str] = ()) -> list[Arrow]:
    """An arrow for each of the items that carry most, for or against.

    Args:
        explanation: Of one item for one user.
        pictured: Items with a picture, from which their arrow begins.
    """
    reasons = sorted(explanation.reasons, key=lambda reason: -abs(reason.carries))[:ARROWS]
    most = max((abs(reason.carries) for reason in reasons), default=0.0) or 1.0
    middle = len(reasons) * ROW / 2
    arrows = []
    for place, reason in enumerate(sorted(reasons, key=lambda reason: -reason.carries)):
        y = place * ROW + ROW / 2
        left = PICTURED if reason.item_id in pictured else LEFT
        bend = (left + RIGHT) / 2
        path = f"M{left} {y:g}C{bend:g} {y:g} {bend:g} {middle:g} {RIGHT} {middle:g}"
        width = THINNEST + (THICKEST - THINNEST) * abs(reason.carries) / most
        arrows.append(Arrow(reason, y, path, round(width, 1)))
    return arrows
