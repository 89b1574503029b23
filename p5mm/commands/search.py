"""Search an index by text, picture or item."""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from p5mm.commands.options import add_limits, item_list
from p5mm.commands.output import add_force, is_page, page_module, put, target
from p5mm.errors import InputError, shown
from p5mm.terminal import say

if TYPE_CHECKING:
    from p5mm.indexing.catalog_index import CatalogIndex, Hit


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``p5mm search``."""
    parser.add_argument("index", help="folder of the index")
    parser.add_argument("--text", metavar="WORDS", help="what to look for, in words")
    parser.add_argument(
        "--image", metavar="FILE", help="what to look for, a picture; with --text both count"
    )
    parser.add_argument("--item", metavar="ID", help="what to look for, an item of the index")
    parser.add_argument(
        "--view", choices=("image", "text", "joint"),
        help="what is searched: pictures, texts, or both in one space (default: by words both, but "
        "texts alone where an alignment is weak; by a picture pictures)",
    )  # fmt: skip
    parser.add_argument(
        "--weight", type=float, metavar="W",
        help="of the words beside the picture, 0 to 1 (default: 0.5)",
    )  # fmt: skip
    parser.add_argument("-k", "--k", type=int, default=10, help="hits (default: 10)")
    add_limits(parser)
    parser.add_argument(
        "--trust", action="append", default=[], metavar="SPEC",
        help="an encoder that the index may name although it imports code, opens a path or asks "
        "a hub",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="JSON on standard output, alone")
    parser.add_argument("--html", metavar="FILE", help="a page with the pictures of the hits")
    parser.add_argument(
        "--images", metavar="DIR", help="folder of the pictures: shows them on the page"
    )
    add_force(parser)


def run(options: argparse.Namespace) -> None:
    """Print the best items for a text, a picture, both, or an item."""
    from p5mm.indexing.catalog_index import CatalogIndex

    _check(options)
    page = None if options.html is None else page_module("p5mm.indexing.search_page")
    index = CatalogIndex.load(options.index, options.trust)
    index = index.limited(item_list(options.allow), item_list(options.deny) or ())
    if options.where is not None:
        index = index.where(options.where)
    view = options.view or _view(options, index)
    hits = _search(options, index, view)
    if page is not None:
        asked = page.Asked(
            options.text, options.image and Path(options.image), options.item,
            _answered(options, index, view),
        )  # fmt: skip
        put(page.search_page(index, asked, hits, options.images), options.html)
    if options.json:
        print(json.dumps([_described(hit, index) for hit in hits]))
        return
    say(_answered(options, index, view))
    print(_table(hits, index))


def _check(options: argparse.Namespace) -> None:
    given = [side for side in ("text", "image", "item") if getattr(options, side) is not None]
    if not given:
        raise InputError("nothing is looked for: give --text WORDS, --image FILE or --item ID")
    if "item" in given and len(given) > 1:
        raise InputError("--item is searched alone; --text and --image may be given together")
    if options.text is not None and not _is_unicode(options.text):
        raise InputError("--text is not UTF-8; give words in UTF-8")
    if options.weight is not None and given != ["text", "image"]:
        raise InputError("--weight is of the words beside a picture: give --text and --image both")
    if options.images is not None and options.html is None:
        raise InputError("--images gives the pictures of a page; name the page with --html FILE")
    if options.html is not None:
        target(options.html, is_page, "earlier page", options.force)


def _is_unicode(words: str) -> bool:
    """Whether words that came as bytes of the command line were UTF-8."""
    try:
        words.encode()
    except UnicodeEncodeError:
        return False
    return True


def _view(options: argparse.Namespace, index: "CatalogIndex") -> str:
    """The view that answers where none is asked for."""
    from p5mm.indexing.query import JOINT, default_view

    sides = [side for side in ("text", "image") if getattr(options, side) is not None]
    return default_view(index, sides) if sides else JOINT


def _search(options: argparse.Namespace, index: "CatalogIndex", view: str) -> "list[Hit]":
    if options.item is not None:
        return index.search_item(options.item, options.k, view)
    weight = 0.5 if options.weight is None else options.weight
    return index.search(options.text, options.image, options.k, view, weight)


def _answered(options: argparse.Namespace, index: "CatalogIndex", view: str) -> str:
    """Which view answered, and what its items are known by."""
    pictures = f"pictures by {index.features['image'].spec}" if "image" in index.features else ""
    texts = f"texts ({', '.join(index.catalog.text)})" if "text" in index.views else ""
    kinds = {"image": pictures, "text": texts}
    if options.item is not None and view == "joint":
        return f"compared by {', '.join(index.features)}"
    known = kinds[view] if view in kinds else " and ".join(filter(None, kinds.values()))
    return f"view {view}: {known}"


def _described(hit: "Hit", index: "CatalogIndex") -> dict[str, Any]:
    name = {"title": index.title(hit.item_id), "image": index.picture_name(hit.item_id)}
    return asdict(hit) | name


def _table(hits: "Sequence[Hit]", index: "CatalogIndex") -> str:
    ids = [shown(hit.item_id) for hit in hits]
    width = max(map(len, ids), default=0)
    return "\n".join(
        f"{hit.rank:>3}  {hit.score:6.3f}  {item:<{width}}  {shown(index.title(hit.item_id))}"
        for hit, item in zip(hits, ids, strict=True)
    )
