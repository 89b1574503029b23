"""Search an index by text, picture or item."""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from p5mm.terminal import say

if TYPE_CHECKING:
    from p5mm.indexing.catalog_index import CatalogIndex, Hit


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``p5mm search``."""
    parser.add_argument("index", help="folder of the index")
    query = parser.add_mutually_exclusive_group(required=True)
    query.add_argument("--text", metavar="WORDS", help="what to look for, in words")
    query.add_argument("--image", metavar="FILE", help="what to look for, a picture")
    query.add_argument("--item", metavar="ID", help="what to look for, an item of the index")
    parser.add_argument("-k", "--k", type=int, default=10, help="hits (default: 10)")
    parser.add_argument(
        "--where", metavar="CONDITION",
        help="on columns of the catalog, as in: category == 'Shoes' and price < 50",
    )  # fmt: skip
    parser.add_argument(
        "--trust", action="append", default=[], metavar="SPEC",
        help="an encoder that the index may name although it imports code, opens a path or asks "
        "a hub",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="JSON on standard output, alone")


def run(options: argparse.Namespace) -> None:
    """Print the best items for a text, a picture or an item."""
    from p5mm.indexing.catalog_index import CatalogIndex

    index = CatalogIndex.load(options.index, options.trust)
    if options.where is not None:
        index = index.where(options.where)
    if options.text is not None:
        hits = index.search_text(options.text, options.k)
    elif options.image is not None:
        hits = index.search_picture(options.image, options.k)
    else:
        hits = index.search_item(options.item, options.k)
    if options.json:
        print(json.dumps([_described(hit, index) for hit in hits]))
        return
    if options.text is not None and index.catalog.text:
        say(f"text is made of: {', '.join(index.catalog.text)}")
    print(_table(hits, index))


def _described(hit: "Hit", index: "CatalogIndex") -> dict[str, Any]:
    name = {"title": index.title(hit.item_id), "image": index.picture_name(hit.item_id)}
    return asdict(hit) | name


def _table(hits: "Sequence[Hit]", index: "CatalogIndex") -> str:
    from p5mm.errors import shown

    ids = [shown(hit.item_id) for hit in hits]
    width = max(map(len, ids), default=0)
    return "\n".join(
        f"{hit.rank:>3}  {hit.score:6.3f}  {item:<{width}}  {shown(index.title(hit.item_id))}"
        for hit, item in zip(hits, ids, strict=True)
    )
