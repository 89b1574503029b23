"""What ``p5mm index`` makes: a catalog that is searched by text, by picture and by item."""

import difflib
import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from p5mm.data.catalog import Catalog
from p5mm.data.catalog_columns import is_binary
from p5mm.data.pictures import first_picture
from p5mm.encoders.alignment import Alignment, train_alignment
from p5mm.encoders.base import Features
from p5mm.errors import InputError, counted, shown, unknown
from p5mm.indexing.query import JOINT, VIEWS, Query
from p5mm.indexing.storage.contents import IndexContents, Refused
from p5mm.indexing.storage.folder import check_target, read_index, write_index
from p5mm.indexing.storage.marks import Marks
from p5mm.indexing.vectors import joint_vectors, unit
from p5mm.indexing.where import rows_where
from p5mm.retrieval.index import VectorIndex
from p5mm.retrieval.tuning import check_kind, part_of
from p5mm.steady import alone

TOWERS = ("image", "text")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Hit:
    """An item found: its score (a cosine) and its rank, from 1."""

    item_id: str
    score: float
    rank: int


@dataclass(frozen=True)
class CatalogIndex(IndexContents):
    """A catalog that is searched by text, by picture and by item.

    Attributes:
        origin: The folder that it was read from; its encoders are made only as far as a stranger's
            folder may name them. None where it was built here.
        trusted: Specs of encoders that the user named for it.
        free: The only rows that are found; None for all.
    """

    origin: str | None = None
    trusted: tuple[str, ...] = ()
    free: frozenset[int] | None = None

    @classmethod
    def build(
        cls, catalog: Catalog, features: Iterable[Features], index_kind: str = "auto"
    ) -> "CatalogIndex":
        """An index of a catalog's features, each with the catalog's rows.

        Args:
            catalog: The items.
            features: Their vectors, a modality each.
            index_kind: auto (by size), exact, ivf, hnsw, ivf-fp16, ivf-sq8, or the memory that
                all views may take, such as 2GB.

        Raises:
            InputError: No item has any vector, features do not fit the catalog, or the views do
                not fit into the memory.
        """
        check_kind(index_kind)
        made = cls.of_some(catalog, features, index_kind=index_kind).with_views()
        if not made.present.any():
            raise InputError(
                "no item of the catalog has a picture or text that could be used: nothing to "
                "index. Give it an image or text column, or the pictures' folder with --images DIR"
            )
        return made

    @classmethod
    def of_some(
        cls,
        catalog: Catalog,
        features: Iterable[Features],
        alignment: Alignment | None = None,
        marks: Mapping[str, Marks] | None = None,
        index_kind: str = "auto",
    ) -> "CatalogIndex":
        """Some items of an index, without views; none need have a vector.

        Raises:
            InputError: Features do not fit the catalog.
        """
        by_modality = {encoded.modality: encoded for encoded in features}
        _check_features(by_modality, len(catalog))
        item_ids = catalog.item_ids
        refused = [Refused(item_id, "image", reason) for item_id, reason in catalog.quarantine]
        refused += [
            Refused(item_ids[bad.row], encoded.modality, bad.reason)
            for encoded in by_modality.values()
            for bad in encoded.quarantine
        ]
        return cls(
            slim(catalog), by_modality, {}, tuple(refused), alignment, marks or {}, index_kind
        )

    @classmethod
    def of(cls, contents: IndexContents) -> "CatalogIndex":
        """An index of what was read, or joined."""
        return cls(**vars(contents))

    @property
    def item_ids(self) -> list[str]:
        """The ids, in the order of the rows."""
        return self.catalog.item_ids

    @property
    def present(self) -> NDArray[np.bool_]:
        """``[n]`` True where an item has any vector."""
        present = np.zeros(len(self.catalog), dtype=np.bool_)
        for encoded in self.features.values():
            present |= encoded.present
        return present

    def picture_name(self, item_id: str) -> str | None:
        """The file of an item's picture, below the folder of the pictures, where it was a file."""
        if "image" not in self.catalog.table.column_names:
            return None
        name: str | list[str] | None = self.catalog.table["image"][self._row(item_id)].as_py()
        return next(iter(name), None) if isinstance(name, list) else name

    def title(self, item_id: str) -> str:
        """A short name of an item."""
        return self.catalog.titles[self._row(item_id)]

    def align(self, seed: int = 0) -> "CatalogIndex":
        """The same index with a joint view, its heads trained on the catalog's own pairs.

        Raises:
            InputError: Pictures or texts are missing, or too few items have both.
        """
        missing = [name for name in TOWERS if name not in self.features]
        if missing:
            raise InputError(
                f"alignment needs pictures and texts; this index has no {' and no '.join(missing)} "
                "vectors. Give the catalog a text column, or pictures (--images DIR)"
            )
        alignment = train_alignment(self.features["image"], self.features["text"], seed=seed)
        return self.with_alignment(alignment)

    def with_alignment(self, alignment: Alignment) -> "CatalogIndex":
        """The same index with a joint view of given heads."""
        return replace(self, alignment=alignment).with_views()

    def where(self, condition: str) -> "CatalogIndex":
        """The same index when only items may be found of which a condition on columns is true.

        Raises:
            InputError: It is none, or no item fulfils it; see `p5mm.indexing.where`.
        """
        rows = rows_where(self.catalog.table, condition)
        return self._among(rows, f"no item fulfils --where {shown(condition)[:200]}")

    def limited(
        self, allow: Sequence[str] | None = None, deny: Sequence[str] = ()
    ) -> "CatalogIndex":
        """The same index when only some items may be found; an id that nobody knows is told.

        Args:
            allow: The only ids that may be found; None for all.
            deny: Ids that may not.

        Raises:
            InputError: No item is left.
        """
        if allow is None and not deny:
            return self
        free, rows = np.full(len(self.item_ids), allow is None), self.catalog.rows
        strange = [item for item in (*(allow or ()), *deny) if item not in rows]
        if strange:
            log.warning(
                "left out of --allow and --deny: %s not in the index, such as '%s'",
                counted(len(strange), "item"),
                shown(strange[0]),
            )
        for ids, wanted in ((allow or (), True), (deny, False)):
            free[[rows[item] for item in ids if item in rows]] = wanted
        return self._among(
            np.flatnonzero(free), "nothing may be found: allow and deny leave no item"
        )

    def _among(self, rows: NDArray[np.int64], nothing: str) -> "CatalogIndex":
        """The same index when only some rows may be found; ``nothing`` is said where none may."""
        if self.free is not None:
            rows = rows[np.isin(rows, list(self.free))]
        if not len(rows):
            raise InputError(nothing)
        ids = {self.item_ids[row] for row in rows.tolist()}
        views = {
            name: view.among(np.flatnonzero([item in ids for item in view.item_ids]))
            for name, view in self.views.items()
        }
        return replace(self, views=views, free=frozenset(rows.tolist()))

    def search_text(self, text: str, k: int = 10, view: str | None = None) -> list[Hit]:
        """The items that a text describes best; see `search`."""
        return self.search(text=text, k=k, view=view)

    def search_picture(
        self, picture: str | Path | bytes, k: int = 10, view: str | None = None
    ) -> list[Hit]:
        """The items most like a picture (a file, or its bytes); see `search`."""
        return self.search(picture=picture, k=k, view=view)

    def search(
        self,
        text: str | None = None,
        picture: str | Path | bytes | None = None,
        k: int = 10,
        view: str | None = None,
        weight: float = 0.5,
    ) -> list[Hit]:
        """The items that a text, a picture, or both together describe best.

        Args:
            text: Words.
            picture: A file, or its bytes.
            k: How many items.
            view: "image", "text" or "joint"; by default see `p5mm.indexing.query.default_view`.
            weight: What the words count beside the picture, from 0 to 1.

        Raises:
            InputError: Neither is given, the view is not there or not reached, the picture is
                broken, or the index was made by other encoders.
        """
        image = Path(picture) if isinstance(picture, str) else picture
        raws = {side: raw for side, raw in (("text", text), ("image", image)) if raw is not None}
        if not raws:
            raise InputError("nothing is looked for; give a text, a picture, or both")
        query = Query(self, raws, view, weight, self.origin, self.trusted)
        return _hits(*query.search(_checked_k(k)))

    def search_item(self, item_id: str, k: int = 10, view: str | None = None) -> list[Hit]:
        """The items most like an item: the mean cosine over the modalities that both have.

        Args:
            item_id: The item.
            k: How many.
            view: "image" or "text" compares that modality alone.

        Raises:
            InputError: The item is unknown or has no vector.
        """
        if view not in (None, *VIEWS):
            raise unknown("view", view, VIEWS)
        row, every = self._row(item_id), view in (None, JOINT)
        compared = {name: made for name, made in self.features.items() if every or name == view}
        total = np.zeros(len(self.item_ids), dtype=np.float32)
        shared = np.zeros(len(self.item_ids), dtype=np.int64)
        for name, encoded in compared.items():
            if encoded.present[row]:
                vectors = self._units[name]
                total += np.where(encoded.present, vectors @ vectors[row], 0)
                shared += encoded.present
        if not shared.any():
            what = "neither picture nor text" if every else f"no {view}"
            raise InputError(f"item '{item_id}' has {what} that could be used")
        shared[row] = 0
        rows = np.flatnonzero(shared)
        if self.free is not None:
            rows = rows[np.isin(rows, list(self.free))]
        scores = (total[rows] / shared[rows]).astype(np.float32)
        best = np.argsort(-scores, kind="stable")[: _checked_k(k)]
        return _hits([[self.item_ids[row] for row in rows[best]]], scores[best][None])

    def save(self, folder: str | Path, force: bool = False) -> None:
        """Writes the index into a folder, whole or not at all; see `p5mm.indexing.storage.folder`.

        Raises:
            InputError: The folder exists, is not empty and is no index; or only some items may be
                found, by ``where``.
        """
        if self.free is not None:
            raise InputError("a condition hides items of this index; save the one without it")
        check_target(folder, force)
        with alone(folder):
            write_index(self.in_one(), folder, force)

    def in_one(self) -> "CatalogIndex":
        """The same index, each view of which is one index of faiss."""
        return self if all(view.is_one for view in self.views.values()) else self.with_views()

    @classmethod
    def load(cls, folder: str | Path, trust: Sequence[str] = ()) -> "CatalogIndex":
        """The index that ``save`` wrote.

        Args:
            folder: Of the index.
            trust: Specs of encoders that may be made although they import code, open a path or
                ask a hub; those of p5mm itself need no trust.

        Raises:
            InputError: The folder is no index, or a file in it is missing or broken.
        """
        return replace(cls.of(read_index(folder)), origin=str(folder), trusted=tuple(trust))

    @cached_property
    def _units(self) -> dict[str, NDArray[np.float32]]:
        """The vectors of each modality at unit length, made once."""
        return {name: unit(encoded.vectors) for name, encoded in self.features.items()}

    def with_views(self, taken: int = 0) -> "CatalogIndex":
        """The same index with its views made anew, each as one index of faiss.

        Args:
            taken: Bytes of the memory that other items of the index have.

        Raises:
            InputError: The rest of the memory is too small.
        """
        of = {}
        for name in TOWERS:
            if name in self.features and self.features[name].present.any():
                encoded = self.features[name]
                of[name] = unit(encoded.vectors), np.flatnonzero(encoded.present)
        joint = joint_vectors(self.features, self.alignment)
        if joint is not None and joint.any():
            of["joint"] = joint, np.flatnonzero(np.any(joint != 0, axis=1))
        sizes = {name: len(rows) * vectors.shape[1] for name, (vectors, rows) in of.items()}
        views = {}
        for name, (vectors, rows) in of.items():
            kind = part_of(self.index_kind, sizes[name] / sum(sizes.values()), taken)
            ids = [self.item_ids[row] for row in rows]
            views[name] = VectorIndex.build(ids, vectors[rows], kind)
        return replace(self, views=views)

    def _row(self, item_id: str) -> int:
        if item_id not in self.catalog.rows:
            near = difflib.get_close_matches(item_id, self.item_ids, n=3, cutoff=0.5)
            hint = f" did you mean {' or '.join(repr(name) for name in near)}?" if near else ""
            raise InputError(
                f"unknown item '{item_id}';{hint} The index holds "
                f"{counted(len(self.item_ids), 'item')}"
            )
        return self.catalog.rows[item_id]


def slim(catalog: Catalog) -> Catalog:
    """The catalog without what the features hold already: vectors, and pictures in bytes.

    Where pictures are files, the column ``image`` says which, below their folder.
    """
    kinds = {field.name: field.type for field in catalog.table.schema}
    coded = (name for name, kind in kinds.items() if is_binary(kind, in_lists=True))
    heavy = {*catalog.vectors, *coded}
    table = catalog.table.select([name for name in kinds if name not in heavy])
    if "image" not in kinds and catalog.pictures is not None:
        # A picture that was found by its name, below the folder of the pictures.
        table = table.append_column("image", pa.array(_names(catalog), pa.string()))
    return Catalog(table, catalog.text)


def _names(catalog: Catalog) -> list[str | None]:
    files = [first_picture(pictures) for pictures in catalog.pictures or ()]
    if catalog.images is None:
        return [file.name if isinstance(file, Path) else None for file in files]
    root = os.path.realpath(catalog.images)
    return [os.path.relpath(file, root) if isinstance(file, Path) else None for file in files]


def _hits(ids: Sequence[Sequence[str]], scores: NDArray[np.float32]) -> list[Hit]:
    return [
        Hit(item_id, float(score), rank)
        for rank, (item_id, score) in enumerate(zip(ids[0], scores[0], strict=False), 1)
    ]


def _checked_k(k: int) -> int:
    if k < 1:
        raise InputError(f"k is {k}; ask for at least 1 item")
    return k


def _check_features(features: dict[str, Features], n: int) -> None:
    for encoded in features.values():
        if len(encoded.vectors) != n:
            raise InputError(
                f"{len(encoded.vectors)} {encoded.modality} vectors for a catalog of {n} items; "
                "encode this catalog again"
            )
