"""Items taken out of an index at once; `compact_index` gives the room of their vectors back."""

import difflib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

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
        return partial(_delete, folder, rows, *_found(rows, item_ids, strict))

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


def _found(
    rows: IndexRows, item_ids: Sequence[str], strict: bool
) -> tuple[NDArray[np.bool_], tuple[str, ...]]:
    """``[n]`` True for the items that go, and the ids that are no items."""
    if isinstance(item_ids, str):
        raise InputError(f"'{shown(item_ids[:80])}' is one id; give a list of ids")
    asked, there = dict.fromkeys(item_ids), rows.catalog.item_ids
    gone = np.fromiter((item in asked for item in there), np.bool_, count=len(there))
    known = set(there)
    unknown = tuple(item for item in asked if item not in known)
    if strict and unknown:
        near = difflib.get_close_matches(str(unknown[0]), rows.catalog.item_ids, n=3, cutoff=0.5)
        hint = f"; did you mean {' or '.join(repr(name) for name in near)}?" if near else "."
        raise InputError(
            f"{len(unknown)} of {len(asked)} ids are no items of the index, such as "
            f"'{shown(str(unknown[0])[:80])}'{hint} Nothing was deleted; of a list (--ids FILE) "
            "those that are there are deleted"
        )
    if gone.all():
        raise InputError(
            f"these are all {len(gone):,} items of the index; delete its folder instead"
        )
    return gone, unknown


def _delete(
    folder: str | Path, rows: IndexRows, gone: NDArray[np.bool_], unknown: tuple[str, ...]
) -> Deletion:
    if gone.any():
        ids = rows.catalog.item_ids
        names = {ids[row] for row in np.flatnonzero(gone)}
        left = [refused for refused in rows.quarantine if refused.item_id not in names]
        write_change(folder, rows, gone, None, left)
    return Deletion(int(gone.sum()), unknown, int((~gone).sum()))
