"""What an index that is damaged, or of an older form, still tells of its items."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from p5mm.data.catalog import read_items
from p5mm.errors import InputError
from p5mm.indexing.storage.folder import SEGMENTS, live_rows
from p5mm.indexing.storage.manifest import REMEDY, read_manifest
from p5mm.indexing.storage.segment import ITEMS
from p5mm.plain import read_json
from p5mm.steady import read_steadily

MOST = 2**63  # items that an index may say


@dataclass(frozen=True)
class Remains:
    """The items of an index as far as they can be told.

    Attributes:
        ids: Those that can be read; deleted ones too where it cannot be told which these are.
        items: How many it held, as far as it says so.
    """

    ids: frozenset[str]
    items: int

    def kept(self, item_ids: frozenset[str]) -> int:
        """How many of the items are among others at most: what cannot be told may be any."""
        told = len(self.ids & item_ids)
        return told + min(self.items - len(self.ids), len(item_ids) - told)


def remains_of(folder: str | Path) -> Remains:
    """What is left of an index; nothing where nothing can be read."""
    try:
        return read_steadily(folder, _read)
    except InputError:
        return Remains(frozenset(), 0)


def _read(folder: Path) -> Remains:
    items = read_json(folder / "config.json", REMEDY).get("items")
    try:
        ids = frozenset(_live_ids(folder))
    except InputError:
        ids = frozenset(_every_id(folder))
    told = items if isinstance(items, int) and items < MOST else 0
    return Remains(ids, max(len(ids), told))


def _live_ids(folder: Path) -> Iterator[str]:
    """Ids of the segments that can be read, which are not deleted."""
    manifest = read_manifest(folder)
    for segment, rows in zip(manifest.segments, live_rows(folder, manifest), strict=True):
        with suppress(InputError):
            ids = read_items(folder / SEGMENTS / segment.name / ITEMS, REMEDY).item_ids
            yield from (ids[row] for row in rows.tolist() if row < len(ids))


def _every_id(folder: Path) -> Iterator[str]:
    for path in sorted((folder / SEGMENTS).glob(f"*/{ITEMS}")):
        with suppress(InputError):
            yield from read_items(path, REMEDY).item_ids
