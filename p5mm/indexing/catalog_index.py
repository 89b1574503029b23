"""What ``p5mm index`` makes: a catalog that is searched by text, by picture and by item."""

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from p5mm.data.catalog import Catalog
from p5mm.encoders.alignment import Alignment, train_alignment
from p5mm.encoders.base import Encoder, Features
from p5mm.encoders.build import make_encoder
from p5mm.errors import InputError, shown
from p5mm.indexing.contents import IndexContents, Refused
from p5mm.indexing.folder import read_index, write_index
from p5mm.indexing.where import rows_where
from p5mm.retrieval.index import VectorIndex

TOWERS = ("image", "text")
TINY = 1e-15  # length below which squares in float32 lose their meaning


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
    def build(cls, catalog: Catalog, features: Iterable[Features]) -> "CatalogIndex":
        """An index of a catalog's features, each with the catalog's rows.

        Raises:
            InputError: No item has any vector, or features do not fit the catalog.
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
        return cls(_slim(catalog), by_modality, {}, tuple(refused))._with_views()

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
        name: str | None = self.catalog.table["image"][self._row(item_id)].as_py()
        return name

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
        return replace(self, alignment=alignment)._with_views()

    def where(self, condition: str) -> "CatalogIndex":
        """The same index when only items may be found of which a condition on columns is true.

        Raises:
            InputError: It is none, or no item fulfils it; see `p5mm.indexing.where`.
        """
        rows = rows_where(self.catalog.table, condition)
        if self.free is not None:
            rows = rows[np.isin(rows, list(self.free))]
        if not len(rows):
            raise InputError(f"no item fulfils --where {shown(condition)[:200]}")
        ids = {self.item_ids[row] for row in rows.tolist()}
        views = {
            name: view.among(np.flatnonzero([item in ids for item in view.item_ids]))
            for name, view in self.views.items()
        }
        return replace(self, views=views, free=frozenset(rows.tolist()))

    def search_text(self, text: str, k: int = 10) -> list[Hit]:
        """The items that a text describes best: in the joint view if there is encoded.

        Raises:
            InputError: The index has no view that text can search, or was made by other encoders.
        """
        view = "joint" if "joint" in self.views else "text"
        if view not in self.views:
            raise InputError(
                "this index holds pictures only and cannot be searched by text. Give the catalog "
                "a text column and align it (p5mm align INDEX), or index it with a CLIP "
                "(--image-encoder and --text-encoder of one open_clip model)"
            )
        vector = self._encode("text", text)
        if view == "joint" and self.alignment is not None:
            vector = self.alignment.project("text", vector)
        return _hits(*self.views[view].search(vector, k))

    def search_picture(self, picture: str | Path | bytes, k: int = 10) -> list[Hit]:
        """The items whose pictures are most like a picture (a file, or its bytes).

        Raises:
            InputError: The index has no pictures, the picture is broken, or the index was made
                by another encoder.
        """
        if "image" not in self.views:
            raise InputError("this index holds no pictures; search it with --text or --item")
        raw = Path(picture) if isinstance(picture, str) else picture
        return _hits(*self.views["image"].search(self._encode("image", raw), k))

    def search_item(self, item_id: str, k: int = 10) -> list[Hit]:
        """The items most like an item: the mean cosine over the modalities that both have.

        Raises:
            InputError: The item is unknown or has no vector.
        """
        row = self._row(item_id)
        total = np.zeros(len(self.item_ids), dtype=np.float32)
        shared = np.zeros(len(self.item_ids), dtype=np.int64)
        for name, encoded in self.features.items():
            if encoded.present[row]:
                unit = self._units[name]
                total += np.where(encoded.present, unit @ unit[row], 0)
                shared += encoded.present
        if not shared.any():
            raise InputError(f"item '{item_id}' has neither picture nor text that could be used")
        shared[row] = 0
        rows = np.flatnonzero(shared)
        if self.free is not None:
            rows = rows[np.isin(rows, list(self.free))]
        scores = (total[rows] / shared[rows]).astype(np.float32)
        best = np.argsort(-scores, kind="stable")[: _checked_k(k)]
        return _hits([[self.item_ids[row] for row in rows[best]]], scores[best][None])

    def save(self, folder: str | Path, force: bool = False) -> None:
        """Writes the index into a folder, whole or not at all; see `p5mm.indexing.folder`.

        Raises:
            InputError: The folder exists, is not empty and is no index; or only some items may be
                found, by ``where``.
        """
        if self.free is not None:
            raise InputError("a condition hides items of this index; save the one without it")
        write_index(self, folder, force)

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
        return cls(**vars(read_index(folder)), origin=str(folder), trusted=tuple(trust))

    @cached_property
    def _units(self) -> dict[str, NDArray[np.float32]]:
        """The vectors of each modality at unit length, made once."""
        return {name: _unit(encoded.vectors) for name, encoded in self.features.items()}

    def _with_views(self) -> "CatalogIndex":
        views = {}
        for name in TOWERS:
            if name in self.features and self.features[name].present.any():
                encoded = self.features[name]
                views[name] = self._view(_unit(encoded.vectors), encoded.present)
        joint = self._joint_vectors()
        if joint is not None:
            views["joint"] = self._view(joint, np.any(joint != 0, axis=1))
        return replace(self, views=views)

    def _view(self, vectors: NDArray[np.float32], present: NDArray[np.bool_]) -> VectorIndex:
        rows = np.flatnonzero(present)
        return VectorIndex.build([self.item_ids[row] for row in rows], vectors[rows])

    def _joint_vectors(self) -> NDArray[np.float32] | None:
        """Mean of an item's aligned vectors ``[n, d]``, at unit length; zero without any."""
        if any(name not in self.features for name in TOWERS):
            return None
        pair = [self.features[name] for name in TOWERS]
        if self.alignment is None and not _one_space(*pair):
            return None
        vectors = [
            _unit(encoded.vectors) if self.alignment is None
            else self.alignment.project(encoded.modality, encoded.vectors)
            for encoded in pair
        ]  # fmt: skip
        return _unit(
            sum(v * encoded.present[:, None] for v, encoded in zip(vectors, pair, strict=True))
        )

    def _encode(self, modality: str, raw: Any) -> NDArray[np.float32]:
        encoded = self.features[modality]
        encoder = _encoder(encoded.spec, modality, self.origin, self.trusted)
        if encoder.fingerprint != encoded.fingerprint:
            raise InputError(
                f"the index was made by {encoded.spec} with fingerprint {encoded.fingerprint}; the "
                f"{encoded.spec} of this installation has {encoder.fingerprint}. Their vectors "
                "cannot be compared: build the index again, or install the weights it was made with"
            )
        try:
            loaded = encoder.load(raw)
        except (ValueError, OSError) as error:
            name = f" {raw}" if isinstance(raw, Path) else ""
            raise InputError(
                f"the {modality} to search by{name} cannot be used: {error}"
            ) from error
        return _unit(np.asarray(encoder.encode([loaded]), dtype=np.float32))

    def _row(self, item_id: str) -> int:
        if item_id not in self.catalog.rows:
            near = difflib.get_close_matches(item_id, self.item_ids, n=3, cutoff=0.5)
            hint = f" did you mean {' or '.join(repr(name) for name in near)}?" if near else ""
            raise InputError(
                f"unknown item '{item_id}';{hint} The index holds {len(self.item_ids)} items"
            )
        return self.catalog.rows[item_id]


@lru_cache(maxsize=4)
def _encoder(spec: str, modality: str, origin: str | None, allowed: tuple[str, ...]) -> Encoder:
    return make_encoder(spec, modality, origin=origin, allowed=allowed)


def _slim(catalog: Catalog) -> Catalog:
    """The catalog without what the features hold already: vectors, and pictures in bytes.

    Where pictures are files, the column ``image`` says which, below their folder.
    """
    kinds = {field.name: field.type for field in catalog.table.schema}
    heavy = {*catalog.vectors, *(name for name, kind in kinds.items() if pa.types.is_binary(kind))}
    table = catalog.table.select([name for name in kinds if name not in heavy])
    if "image" not in kinds and catalog.pictures is not None:
        # A picture that was found by its name: the item's id and a suffix.
        pairs = zip(catalog.item_ids, catalog.pictures, strict=True)
        names = [i + p.suffix if isinstance(p, Path) else None for i, p in pairs]
        table = table.append_column("image", pa.array(names, pa.string()))
    return Catalog(table, catalog.text)


def _one_space(image: Features, text: Features) -> bool:
    """Whether both come from the towers of one CLIP: "open_clip:A/B" and "open_clip.text:A/B"."""
    specs = [encoded.spec.replace(f".{encoded.modality}:", ":") for encoded in (image, text)]
    return specs[0] == specs[1] and specs[0].startswith("open_clip:") and image.dim == text.dim


def _unit(vectors: Any) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    odd = np.flatnonzero(~np.isfinite(norms[:, 0]) | (norms[:, 0] < TINY))
    if len(odd):  # squares that float32 cannot hold: scaled before they are squared
        peaks = np.abs(vectors[odd]).max(axis=1, keepdims=True)
        vectors = np.array(vectors)
        vectors[odd] = np.divide(
            vectors[odd], peaks, out=np.zeros_like(vectors[odd]), where=peaks > 0
        )
        norms[odd] = np.linalg.norm(vectors[odd], axis=1, keepdims=True)
    unit: NDArray[np.float32] = np.divide(
        vectors, norms, out=np.zeros_like(vectors), where=norms > 0
    )
    return unit


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
    if not any(encoded.present.any() for encoded in features.values()):
        raise InputError(
            "no item of the catalog has a picture or text that could be used: nothing to index. "
            "Give it an image or text column, or the pictures' folder with --images DIR"
        )
