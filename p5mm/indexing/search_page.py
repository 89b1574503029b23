"""One HTML page for a search: what was looked for, and the pictures of what was found."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from p5mm.data.pictures import Picture, first_picture, placed
from p5mm.data.shards.items import pictures_named
from p5mm.data.shards.members import is_tar, tars_in
from p5mm.errors import InputError
from p5mm.indexing.catalog_index import CatalogIndex, Hit
from p5mm.pages.page import render_page

ASKED = "\0picture"  # under which the page keeps the picture looked for; no item is called so


@dataclass(frozen=True)
class Asked:
    """What was looked for.

    Attributes:
        text: Words.
        picture: A file.
        item: Id of an item.
        told: Which view answered.
    """

    text: str | None = None
    picture: Path | None = None
    item: str | None = None
    told: str = ""


def search_page(
    index: CatalogIndex, asked: Asked, hits: Sequence[Hit], images: str | Path | None = None
) -> str:
    """One HTML file that is whole in itself.

    Args:
        index: What was searched.
        asked: What was looked for.
        hits: What was found, best first.
        images: The folder that the pictures' names of the index are below; without it items
            are shown by their titles.

    Raises:
        InputError: The folder is none, or holds no picture of what was found.
    """
    shown = [hit.item_id for hit in hits] + ([asked.item] if asked.item else [])
    pictures = {} if images is None else item_pictures(index, shown, Path(images))
    if asked.picture is not None:
        pictures[ASKED] = asked.picture
    titles = {item: index.title(item) for item in shown} | {ASKED: "the picture looked for"}
    return render_page(
        "search.html.j2",
        title=asked.text or (titles[asked.item] if asked.item else "Like this picture"),
        shown=[*shown, ASKED],
        titles=titles,
        pictures=pictures,
        credits=["Made by p5mm."],
        asked=asked,
        asked_picture=ASKED if asked.picture is not None else asked.item,
        hits=hits,
    )


def item_pictures(index: CatalogIndex, items: Sequence[str], images: Path) -> dict[str, Picture]:
    """The pictures of some items of an index, below a folder; none is taken from outside it.

    Raises:
        InputError: There is no such folder or tar, or none of the pictures is below it.
    """
    if not images.is_dir() and not is_tar(images):
        raise InputError(f"there is no picture folder {images}; check --images")
    table = index.catalog.table
    if "image" not in table.column_names:
        raise InputError("this index names no picture files; leave --images out")
    names = {item: name for item in items if (name := index.picture_name(item))}
    pictures: dict[str, Picture] = {}
    if is_tar(images) or tars_in(images):
        parts = pictures_named(list(names.values()), images)
        pictures |= {item: parts[name] for item, name in names.items() if name in parts}
    if images.is_dir():
        files = {item: name for item, name in names.items() if item not in pictures}
        found, _ = placed([[name] for name in files.values()], images)
        pictures |= {
            item: picture
            for item, several in zip(files, found, strict=True)
            if (picture := first_picture(several)) is not None
        }
    named = list(names.values())
    if named and not pictures:
        raise InputError(
            f"{images} holds none of the pictures found (first: {images / named[0]}); give with "
            "--images the folder that their names are below"
        )
    return pictures
