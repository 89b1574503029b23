"""Items taken out of an index at once; `compact_index` gives the room of their vectors back."""

import difflib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from p5mm.errors import InputError, shown
from p5mm.indexing.catalog_index import CatalogIndex
from p5mm.indexing.storage.folder import (
    IndexRows,
    check_target,
    read_index_rows,
    write_change,
    write_index,
)
from p5mm.indexing.storage.manifest import read_manifest
from p5mm.steady import replaced_in_turn

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Deletion:
    """What a deletion has done.

    Attributes:
        deleted: How many items it took out.
        unknown: The ids that were no items.
        left: How many items the index has now.
    """

    deleted: int
    unknown: tuple[str, ...]
    left: int


def delete_items(folder: str | Path, item_ids: Sequence[str], strict: bool = True) -> Deletion:
    """Take items out of an index; nothing else of it is written again.

    Args:
        folder: Of the index.
        item_ids: Which.
        strict: Whether every id must be an item's; else those that are none are only told.

    Raises:
        InputError: The folder is no index, an id is unknown, or no item would be left.
    """

    def prepare() -> Callable[[], Deletion]:
        rows = read_index_rows(folder)
        check_target(folder)
        names, unknown = named(rows.catalog.item_ids, item_ids, strict, "index")
        return partial(_delete, folder, rows, names, unknown)

    return replaced_in_turn(folder, prepare)


def compact_index(folder: str | Path) -> None:
    """Write an index as one segment, without the items that are deleted.

    Raises:
        InputError: The folder is no index, or a file in it is missing or broken.
    """

    def prepare() -> Callable[[], None]:
        segments = read_manifest(Path(folder)).segments
        check_target(folder)
        if len(segments) == 1 and not segments[0].deleted:
            return lambda: None
        return partial(write_index, CatalogIndex.load(folder).in_one(), folder)

    replaced_in_turn(folder, prepare)


def named(
    there: Sequence[str], item_ids: Sequence[str], strict: bool, what: str
) -> tuple[frozenset[str], tuple[str, ...]]:
    """The items that go, and the ids that are no items.

    Args:
        there: All items.
        item_ids: That are to go.
        strict: Whether every id must be an item's.
        what: Whose items they are, for messages: "index".

    Raises:
        InputError: An id is unknown and ``strict``, or no item would be left.
    """
    if isinstance(item_ids, str):
        raise InputError(f"'{shown(item_ids[:80])}' is one id; give a list of ids")
    asked, known = dict.fromkeys(item_ids), set(there)
    unknown = tuple(item for item in asked if item not in known)
    if strict and unknown:
        near = difflib.get_close_matches(str(unknown[0]), there, n=3, cutoff=0.5)
        hint = f"; did you mean {' or '.join(repr(name) for name in near)}?" if near else "."
        raise InputError(
            f"{len(unknown)} of {len(asked)} ids are no items of the {what}, such as "
            f"'{shown(str(unknown[0])[:80])}'{hint} Nothing was deleted; of a list (--ids FILE) "
            "those that are there are deleted"
        )
    gone = frozenset(known.intersection(asked))
    if len(gone) == len(known):
        raise InputError(
            f"these are all {len(gone):,} items of the {what}; delete its folder instead"
        )
    return gone, unknown


def _delete(
    folder: str | Path, rows: IndexRows, names: frozenset[str], unknown: tuple[str, ...]
) -> Deletion:
    there = rows.catalog.item_ids
    if names:
        gone = np.fromiter((item in names for item in there), np.bool_, count=len(there))
        left = [refused for refused in rows.quarantine if refused.item_id not in names]
        write_change(folder, rows, gone, None, left)
    return Deletion(len(names), unknown, len(there) - len(names))
