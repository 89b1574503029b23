"""Find items of an index that are nearly the same."""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from p5mm import __version__
from p5mm.commands.output import add_force, is_page, page_module, put, target
from p5mm.errors import InputError, counted
from p5mm.terminal import columns, safe, say

if TYPE_CHECKING:
    from p5mm.indexing.duplicates import Group

SHOWN = 8  # ids of a group in the table
GROUPS = 50  # groups in it; the page and the JSON have more


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``p5mm duplicates``."""
    parser.add_argument("index", help="folder of the index")
    parser.add_argument(
        "--by", metavar="MODALITY", help="whose vectors are compared (default: image, if any)"
    )
    parser.add_argument(
        "--threshold", type=float, default=0.85, metavar="COSINE",
        help="from which two items are alike (default: 0.85)",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="JSON on standard output, alone")
    parser.add_argument("--html", metavar="FILE", help="a page with all groups")
    parser.add_argument("--images", metavar="DIR", help="folder of the pictures, for the page")
    add_force(parser)


def run(options: argparse.Namespace) -> None:
    """Print groups of items that are alike, the surest first."""
    page = _page(options)
    from p5mm.indexing.catalog_index import CatalogIndex
    from p5mm.indexing.duplicates import duplicates

    index = CatalogIndex.load(options.index)
    groups = duplicates(index, options.by, options.threshold)
    if page is not None:
        images = None if options.images is None else Path(options.images)
        credits = [f"Made by p5mm {__version__}."]
        put(page.duplicates_page(groups, index, options.threshold, images, credits), options.html)
        say(f"{options.html}: {counted(len(groups), 'group')}")
    if options.json:
        print(json.dumps([asdict(group) for group in groups]))
    elif groups:
        print(_table(groups))
    else:
        say(f"no two items have a cosine of {options.threshold:g} or more")


def _page(options: argparse.Namespace) -> ModuleType | None:
    """The module that draws the page, if one is wanted and its file can be written."""
    if options.images is not None and options.html is None:
        raise InputError("--images gives the pictures of a page; name the page with --html FILE")
    if options.images is not None and not Path(options.images).is_dir():
        raise InputError(f"there is no picture folder {options.images}; check --images")
    if options.html is None:
        return None
    target(options.html, is_page, "earlier page", options.force)
    return page_module("p5mm.indexing.duplicates_page")


def _table(groups: "Sequence[Group]") -> str:
    rows = [["items", "alike", "ids"]]
    for group in groups[:GROUPS]:
        ids = ", ".join(safe(item) for item in group.item_ids[:SHOWN])
        more = ", ..." if len(group.item_ids) > SHOWN else ""
        alike = "same bytes" if group.same else f"{group.likeness:.3f}"
        rows.append([f"{len(group.item_ids):,}", alike, ids + more])
    rest = len(groups) - GROUPS
    return columns(rows) + (
        f"\n... and {counted(rest, 'more group')} (--html, --json)" if rest > 0 else ""
    )
