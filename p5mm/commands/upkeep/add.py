"""Add the items of a catalog to a trained model, by their content; nothing is trained."""

import argparse
from typing import TYPE_CHECKING

from p5mm.terminal import safe, say

if TYPE_CHECKING:
    from p5mm.data.catalog import Catalog
    from p5mm.indexing.catalog_index import CatalogIndex


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``p5mm add``."""
    parser.add_argument("model", help="folder of the model")
    parser.add_argument(
        "catalog",
        help="Parquet, CSV, TSV or JSONL, a folder of pictures, or an index by the same encoders",
    )
    parser.add_argument("--images", metavar="DIR", help="folder of the pictures")
    parser.add_argument(
        "--trust", action="append", default=[], metavar="SPEC",
        help="an encoder that the model may name although it imports code, opens a path or asks "
        "a hub",
    )  # fmt: skip
    parser.add_argument(
        "--dry-run", action="store_true",
        help="say what would be added and what encoding would cost; write nothing",
    )  # fmt: skip
    parser.add_argument(
        "--list", action="store_true",
        help="the items that are touched on standard output: + added, ~ changed",
    )  # fmt: skip


def run(options: argparse.Namespace) -> None:
    """Encode what is new or different in a catalog, and let the model serve it."""
    from p5mm.serving.upkeep.addition import add_to_model, foreseen

    given = _given(options.catalog, options.images)
    if options.dry_run:
        done, costs = foreseen(options.model, given, options.trust)
        say(*map(str, costs), f"{options.model}: nothing was written (--dry-run)")
    else:
        done = add_to_model(options.model, given, options.trust)
    if options.list:
        for line in done.lines():
            print(safe(line))


def _given(path: str, images: str | None) -> "Catalog | CatalogIndex":
    """The catalog, or the index, that a path names.

    Raises:
        InputError: It is neither, or an index that pictures are named for.
    """
    from p5mm.errors import InputError
    from p5mm.indexing.storage.manifest import is_index

    if not is_index(path):
        from p5mm.data.catalog import Catalog

        return Catalog.read(path, images=images)
    from p5mm.indexing.catalog_index import CatalogIndex

    if images is not None:
        raise InputError(f"{path} is an index, whose pictures are encoded; leave out --images")
    return CatalogIndex.load(path)
