"""What an update does to an index: items added, changed by content, removed, untouched."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from p5mm.data.catalog import Catalog
from p5mm.indexing.storage.folder import IndexRows
from p5mm.indexing.storage.marks import Marks

NEW = -1


@dataclass(frozen=True)
class Change:
    """The ids of the items that an update touches.

    Attributes:
        added: Those that the index did not have.
        changed: Those of which a column, a picture or a vector is not what it was.
        removed: Those that the catalog has no longer.
        untouched: How many stay as they are.
        recased: Of those added, the ids that differ from a removed one in case alone.
    """

    added: tuple[str, ...]
    changed: tuple[str, ...]
    removed: tuple[str, ...]
    untouched: int
    recased: tuple[str, ...] = ()

    def __str__(self) -> str:
        counts = {
            "added": len(self.added), "changed": len(self.changed), "removed": len(self.removed),
            "untouched": self.untouched,
        }  # fmt: skip
        return ", ".join(f"{count:,} {name}" for name, count in counts.items())

    def __bool__(self) -> bool:
        return bool(self.added or self.changed or self.removed)

    def lines(self) -> list[str]:
        """One line an item: + added, ~ changed, - removed, and its id."""
        of = {"+": self.added, "~": self.changed, "-": self.removed}
        return [f"{sign} {item}" for sign, items in of.items() for item in items]


def places(catalog: Catalog, before: Catalog) -> NDArray[np.int64]:
    """``[n]`` the row that each item of a catalog had before, -1 for a new one."""
    ids = catalog.table["item_id"].combine_chunks()
    found = pc.index_in(ids, before.table["item_id"].combine_chunks())
    rows: NDArray[np.int64] = pc.fill_null(found, NEW).to_numpy(zero_copy_only=False)
    return rows.astype(np.int64)


def changed(
    catalog: Catalog, marks: Mapping[str, Marks], before: IndexRows, place: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """``[n]`` True where a known item has another content than before.

    Args:
        catalog: As an index keeps it, without pictures and vectors.
        marks: Of the fields that are no columns of it.
        before: What the index holds.
        place: Of `places`.
    """
    known = np.flatnonzero(place != NEW)
    was = place[known]
    different = np.zeros(len(known), np.bool_)
    for name in dict.fromkeys([*catalog.table.column_names, *before.catalog.table.column_names]):
        different |= unlike(
            _cells(catalog.table, name, known), _cells(before.catalog.table, name, was)
        )
    for name, now in marks.items():
        then = before.marks.get(name, Marks.nothing(len(before.catalog)))
        different |= now.take(known).differ(then.take(was))
    whole = np.zeros(len(place), np.bool_)
    whole[known] = different
    return whole


def fit_together(catalog: Catalog, before: Catalog) -> bool:
    """Whether the rows of both can stand in one table, and their texts are made alike."""
    try:
        schemas = [catalog.table.schema, before.table.schema]
        pa.unify_schemas(schemas, promote_options="permissive")
    except pa.ArrowException:
        return False
    return catalog.text == before.text


def told(
    catalog: Catalog,
    before: Catalog | None,
    place: NDArray[np.int64],
    different: NDArray[np.bool_],
) -> Change:
    """The change in the items' own ids."""
    ids = catalog.item_ids
    added = tuple(ids[row] for row in np.flatnonzero(place == NEW))
    other = tuple(ids[row] for row in np.flatnonzero(different))
    there = [] if before is None else before.item_ids
    gone = np.ones(len(there), np.bool_)
    gone[place[place != NEW]] = False
    removed = tuple(there[row] for row in np.flatnonzero(gone))
    folded = {item.casefold() for item in removed}
    recased = tuple(item for item in added if item.casefold() in folded)
    return Change(added, other, removed, len(ids) - len(added) - len(other), recased)


def _cells(table: pa.Table, name: str, rows: NDArray[np.int64]) -> pa.Array | pa.ChunkedArray:
    """Some rows of a column; nulls where there is no such column."""
    if name not in table.column_names:
        return pa.nulls(len(rows))
    return table[name].take(pa.array(rows))


def unlike(one: pa.Array | pa.ChunkedArray, other: pa.Array | pa.ChunkedArray) -> NDArray[np.bool_]:
    """``[n]`` True where two columns differ; two nulls, and two that are no number, are alike."""
    try:
        kinds = [pa.schema([("x", column.type)]) for column in (one, other)]
        kind = pa.unify_schemas(kinds, promote_options="permissive").field("x").type
        one, other = one.cast(kind), other.cast(kind)
        alike = pc.fill_null(pc.equal(one, other), False)
        both = pc.and_(pc.is_null(one, nan_is_null=True), pc.is_null(other, nan_is_null=True))
        same = pc.or_(alike, both)
        return ~np.asarray(same.to_numpy(zero_copy_only=False), dtype=np.bool_)
    except pa.ArrowException:  # lists and other nested values
        return _unlike_values(one.to_pylist(), other.to_pylist())


def _unlike_values(one: Sequence[object], other: Sequence[object]) -> NDArray[np.bool_]:
    different = [
        a != b and repr(a) != repr(b)  # within another value, what is no number is unlike itself
        for a, b in zip(one, other, strict=True)
    ]
    return np.array(different, np.bool_)
