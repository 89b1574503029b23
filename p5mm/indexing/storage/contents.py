"""What a catalog index holds, in memory and on disk."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from p5mm.data.catalog import Catalog
from p5mm.encoders.alignment import Alignment
from p5mm.encoders.base import Features
from p5mm.errors import InputError, shown
from p5mm.indexing.storage.marks import Marks
from p5mm.retrieval.index import VectorIndex

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Refused:
    """A value that was given for an item and could not be used."""

    item_id: str
    modality: str
    reason: str


@dataclass(frozen=True)
class IndexContents:
    """The items of a catalog, their vectors, and one vector index a view.

    Attributes:
        catalog: Every item, also those without any vector; without pictures and vector columns.
        features: The vectors of each modality, in the catalog's rows.
        views: "image", "text", and "joint" where pictures and texts share a space.
        quarantine: What could not be used.
        alignment: The heads that bring pictures and texts into one space, once trained.
        marks: Of each field that is no text, by what a change is seen; in the catalog's rows.
        index_kind: Of the views, as `p5mm.retrieval.tuning.factory_string` takes it; a memory is
            that of all views together.
    """

    catalog: Catalog
    features: dict[str, Features]
    views: dict[str, VectorIndex]
    quarantine: tuple[Refused, ...] = ()
    alignment: Alignment | None = None
    marks: Mapping[str, Marks] = field(default_factory=dict)
    index_kind: str = "auto"


def joined(parts: Sequence[tuple[IndexContents, Rows]]) -> IndexContents:
    """Some rows of some parts, one after the other; quarantine and alignment are of the whole.

    Args:
        parts: Each with the rows ``[m]``, ascending, that are taken of it.

    Raises:
        InputError: The parts do not fit each other.
    """
    first, rows = parts[0]
    if len(parts) == 1 and len(rows) == len(first.catalog):
        return first
    catalogs = [part.catalog.take(rows) for part, rows in parts]
    marks = joined_marks(
        [{name: of.take(rows) for name, of in part.marks.items()} for part, rows in parts],
        [len(rows) for _, rows in parts],
    )
    features = {name: _joined_features(parts, name) for name in first.features}
    views: dict[str, list[VectorIndex]] = {}
    for (part, _), catalog in zip(parts, catalogs, strict=True):
        left = set(catalog.item_ids)
        for name, view in part.views.items():
            there = np.flatnonzero([item in left for item in view.item_ids])
            if len(there):
                whole = len(there) == len(view)
                views.setdefault(name, []).append(view if whole else view.among(there))
    indexes = {name: VectorIndex.joined(of) for name, of in views.items()}
    return IndexContents(joined_catalog(catalogs), features, indexes, marks=marks)


def joined_catalog(parts: Sequence[Catalog]) -> Catalog:
    """The rows of some catalogs, one after the other.

    Raises:
        InputError: A column is of types that do not agree, or the texts are made of other columns.
    """
    if len({part.text for part in parts}) > 1:
        raise InputError("its segments make their texts of different columns")
    try:
        tables = [part.table for part in parts]
        return Catalog(pa.concat_tables(tables, promote_options="permissive"), parts[0].text)
    except pa.ArrowException as error:
        told = shown(str(error))[:200]
        raise InputError(f"its segments have a column of two types ({told})") from error


def joined_marks(parts: Sequence[Mapping[str, Marks]], sizes: Sequence[int]) -> dict[str, Marks]:
    """The marks of some parts, one after the other; a field that a part lacks says nothing."""
    names = dict.fromkeys(name for part in parts for name in part)
    of = {
        name: [part.get(name, Marks.nothing(size)) for part, size in zip(parts, sizes, strict=True)]
        for name in names
    }
    return {
        name: Marks(
            np.concatenate([one.keys for one in marks]),
            np.concatenate([one.stamps for one in marks]),
        )
        for name, marks in of.items()
    }


def _joined_features(parts: Sequence[tuple[IndexContents, Rows]], name: str) -> Features:
    first = parts[0][0].features[name]
    vectors = np.empty((sum(len(rows) for _, rows in parts), first.dim), np.float32)
    start = 0
    for part, rows in parts:  # copied once, for these may be gigabytes
        np.take(part.features[name].vectors, rows, 0, vectors[start : start + len(rows)], "clip")
        start += len(rows)
    present = np.concatenate([part.features[name].present[rows] for part, rows in parts])
    return Features(name, first.spec, first.fingerprint, vectors, present)
