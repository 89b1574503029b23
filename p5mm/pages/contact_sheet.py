"""A contact sheet: what shoppers took, what was recommended, what was truly next, on one PNG."""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from PIL import Image, ImageDraw, ImageFont

from p5mm.data.pictures import Picture
from p5mm.errors import shown
from p5mm.pages.stories import Search, Shopper
from p5mm.pages.text import clipped
from p5mm.pages.thumbnails import thumbnail

TILE, GAP, MARGIN, LABEL, ARROW, PAD = 132, 14, 64, 250, 96, 10
ROW = TILE + 34
LETTERS = 400  # of a title that are looked at: no tile has room for more
PAPER, CARD, LINE, INK, FAINT, HIT = (
    "#f4f2ee",
    "#ffffff",
    "#dcd8d0",
    "#23211e",
    "#7d786f",
    "#1f9d55",
)


@dataclass(frozen=True)
class ContactSheet:
    """What a sheet shows.

    Attributes:
        title: The headline.
        note: One line below it: where the data come from.
        shoppers: One row each.
        searches: One row each, below the shoppers.
        titles: Short names of the items shown; an item without one shows its id.
        pictures: Pictures of the items shown; an item without one becomes a tile of text.
        history: How many of a shopper's last items to show.
        recommended: How many recommendations and search hits to show.
    """

    title: str
    note: str
    shoppers: Sequence[Shopper]
    searches: Sequence[Search] = ()
    titles: Mapping[str, str] = field(default_factory=dict)
    pictures: Mapping[str, Picture] = field(default_factory=dict)
    history: int = 8
    recommended: int = 6

    def draw(self) -> Image.Image:
        """The sheet as an RGB picture."""
        rows = len(self.shoppers) + len(self.searches)
        heads = (len(self.shoppers) > 0) + (len(self.searches) > 0)
        height = 2 * MARGIN + 130 + heads * 76 + rows * ROW
        sheet = Image.new("RGB", (self._truth_left() + TILE + MARGIN, height), PAPER)
        pen = ImageDraw.Draw(sheet)
        _write(pen, (MARGIN, MARGIN), self.title, 50)
        _write(pen, (MARGIN, MARGIN + 68), self.note, 27, FAINT)
        top = MARGIN + 130
        if self.shoppers:
            top = self._draw_shoppers(sheet, pen, top)
        if self.searches:
            self._draw_searches(sheet, pen, top)
        return sheet

    def _draw_shoppers(self, sheet: Image.Image, pen: ImageDraw.ImageDraw, top: int) -> int:
        for left, head in (
            (self._history_left(), "took, oldest to newest"),
            (self._recommended_left(), "recommended, best first"),
            (self._truth_left(), "truly next"),
        ):
            _write(pen, (left, top + 22), head, 27, FAINT)
        top += 76
        for shopper in self.shoppers:
            _write(pen, (MARGIN, top + TILE // 2 - 30), clipped(shown(shopper.user_id), 15), 28)
            self._write_verdict(pen, top + TILE // 2 + 6, shopper)
            taken = shopper.history[-self.history :]
            indent = self.history - len(taken)
            self._draw_tiles(sheet, self._history_left() + indent * (TILE + GAP), top, taken)
            _arrow(pen, self._recommended_left() - ARROW, top + TILE // 2)
            best = shopper.recommended[: self.recommended]
            self._draw_tiles(sheet, self._recommended_left(), top, best, shopper.truth)
            if shopper.truth is not None:
                hit = shopper.truth if shopper.truth in best else None
                self._draw_tiles(sheet, self._truth_left(), top, [shopper.truth], hit)
            top += ROW
        return top

    def _draw_searches(self, sheet: Image.Image, pen: ImageDraw.ImageDraw, top: int) -> None:
        _write(pen, (MARGIN, top + 22), "search", 27, FAINT)
        top += 76
        for search in self.searches:
            _write(pen, (MARGIN, top + TILE // 2 - 18), f"by {search.kind}", 28)
            if search.kind == "text":
                _draw_words(sheet, (self._history_left(), top), f"“{search.query}”", TILE * 2 + GAP)
            else:
                self._draw_tiles(sheet, self._history_left() + TILE + GAP, top, [search.query])
            _arrow(pen, self._history_left() + 2 * TILE + 2 * GAP, top + TILE // 2)
            left = self._history_left() + 2 * TILE + 2 * GAP + ARROW
            room = (sheet.width - MARGIN - left + GAP) // (TILE + GAP)
            self._draw_tiles(sheet, left, top, search.hits[:room])
            top += ROW

    def _draw_tiles(
        self, sheet: Image.Image, left: int, top: int, items: Sequence[str], hit: str | None = None
    ) -> None:
        for item in items:
            small = thumbnail(self.pictures.get(item), TILE - 2 * PAD)
            if small is None:
                _draw_words(sheet, (left, top), self.titles.get(item, item), TILE)
            else:
                _draw_card(sheet, (left, top), TILE)
                sheet.paste(
                    small, (left + (TILE - small.width) // 2, top + (TILE - small.height) // 2)
                )
            if item == hit:
                frame = (left - 4, top - 4, left + TILE + 4, top + TILE + 4)
                ImageDraw.Draw(sheet).rounded_rectangle(frame, 20, outline=HIT, width=8)
            left += TILE + GAP

    def _write_verdict(self, pen: ImageDraw.ImageDraw, top: int, shopper: Shopper) -> None:
        best = list(shopper.recommended[: self.recommended])
        if shopper.truth in best:
            _write(pen, (MARGIN, top), f"hit at {best.index(shopper.truth) + 1}", 24, HIT)
        elif shopper.truth is not None:
            _write(pen, (MARGIN, top), "missed", 24, FAINT)

    def _history_left(self) -> int:
        return MARGIN + LABEL

    def _recommended_left(self) -> int:
        return self._history_left() + self.history * (TILE + GAP) + ARROW

    def _truth_left(self) -> int:
        return self._recommended_left() + self.recommended * (TILE + GAP) + 3 * GAP


def _write(
    pen: ImageDraw.ImageDraw, at: tuple[int, int], text: str, size: int, colour: str = INK
) -> None:
    pen.text(at, shown(text), fill=colour, font=ImageFont.load_default(size))


def _draw_card(sheet: Image.Image, at: tuple[int, int], width: int, colour: str = CARD) -> None:
    box = (at[0], at[1], at[0] + width, at[1] + TILE)
    ImageDraw.Draw(sheet).rounded_rectangle(box, 16, fill=colour, outline=LINE, width=2)


def _draw_words(sheet: Image.Image, at: tuple[int, int], text: str, width: int) -> None:
    """A tile of text, in the largest size that fits without breaking a word."""
    _draw_card(sheet, at, width, "#fbfaf7")
    text = clipped(shown(text), LETTERS)
    for size in (30, 25, 21, 18):
        font = ImageFont.load_default(size)
        columns = int((width - 2 * PAD) / (size * 0.56))
        lines = textwrap.wrap(text, columns)
        room = (TILE - 2 * PAD) // int(size * 1.25)
        if len(lines) <= room and max(map(len, text.split()), default=0) <= columns:
            break
    if len(lines) > room:
        lines = [*lines[: room - 1], clipped(lines[room - 1] + " " + lines[room], columns)]
    middle = (at[0] + width // 2, at[1] + TILE // 2)
    ImageDraw.Draw(sheet).multiline_text(
        middle, "\n".join(lines), INK, font, anchor="mm", align="center", spacing=4
    )


def _arrow(pen: ImageDraw.ImageDraw, left: int, middle: int) -> None:
    right = left + ARROW - 2 * GAP
    pen.line((left + GAP, middle, right - 8, middle), fill=FAINT, width=5)
    pen.polygon([(right, middle), (right - 20, middle - 13), (right - 20, middle + 13)], fill=FAINT)
