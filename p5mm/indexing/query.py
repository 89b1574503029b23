"""A query of words, of a picture, or of both, and what a view of an index answers it."""

from collections.abc import Collection, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from p5mm.encoders.alignment import Alignment
from p5mm.encoders.base import Encoder
from p5mm.encoders.build import make_encoder, text_tower
from p5mm.errors import InputError, unknown
from p5mm.indexing.storage.contents import IndexContents
from p5mm.indexing.vectors import one_space, unit
from p5mm.retrieval.index import VectorIndex

JOINT = "joint"
VIEWS = ("image", "text", JOINT)


def default_view(index: IndexContents, sides: Collection[str]) -> str:
    """The view that answers where none is asked for.

    Words search the joint view, where they find pictures too; but that of a weak alignment makes
    them worse (measured by benchmarks/views.py), and they search the texts. A picture searches
    pictures; words and a picture together search the joint view.

    Args:
        index: What is searched.
        sides: What the query has: "text", "image", or both.

    Raises:
        InputError: The index has no pictures and is searched by one.
    """
    if "image" in sides and "image" not in index.views:
        raise InputError("this index holds no pictures; search it with --text or --item")
    if "text" not in index.views:
        return "image"
    if "image" in sides:
        return "image" if len(sides) == 1 else JOINT
    weak = index.alignment is not None and index.alignment.report.weak
    return "text" if weak or JOINT not in index.views else JOINT


class Query:
    """What is looked for, encoded by the encoders that an index was made with.

    Args:
        index: What is searched.
        raws: "text" to words, "image" to a path or bytes, or both.
        view: "image", "text" or "joint"; None is `default_view`.
        weight: What the words count beside the picture, from 0 to 1.
        origin: As `p5mm.encoders.build.make_encoder`.
        trusted: Specs that the user named.

    Raises:
        InputError: The index has no such view, or the weight is none.
    """

    def __init__(
        self,
        index: IndexContents,
        raws: Mapping[str, Any],
        view: str | None = None,
        weight: float = 0.5,
        origin: str | None = None,
        trusted: tuple[str, ...] = (),
    ) -> None:
        if view is not None and view not in VIEWS:
            raise unknown("view", view, VIEWS)
        if not 0 <= weight <= 1:
            raise InputError(f"the weight of the words is {weight}; give a number from 0 to 1")
        self.index = index
        self.raws = raws
        self.view = default_view(index, raws) if view is None else view
        self.weights = {"text": weight, "image": 1 - weight}
        self.origin = origin
        self.trusted = trusted
        self._check_view()

    def search(self, k: int) -> tuple[list[list[str]], NDArray[np.float32]]:
        """The ids and the scores of the best items; see `VectorIndex.search`.

        Raises:
            InputError: The query does not reach the view, or is broken, or the index was made by
                other encoders.
        """
        heads = self._heads()
        items = self._items(heads)
        if not len(items):
            return [[]], np.empty((1, 0), dtype=np.float32)
        sides = {side: self._vector(side, heads) for side in self.raws}
        if len(sides) == 1:
            return items.search(next(iter(sides.values())), k)
        return items.search(unit(sum(self.weights[s] * made for s, made in sides.items())), k)

    def _check_view(self) -> None:
        views = self.index.views
        if self.view == JOINT and JOINT not in views and "text" in views:
            raise InputError(
                "pictures and texts of this index share no space: align it (p5mm align INDEX), or "
                "encode both by one CLIP (--image-encoder open_clip:MODEL/TAG, the same for "
                "--text-encoder)"
            )
        pictures_alone = "image" in views and "text" not in views
        if self.view not in views and not (self.view == JOINT and pictures_alone):
            there = ", ".join(views) or "--item alone"
            raise InputError(f"this index has no view '{self.view}'; it is searched by {there}")
        heads = self.index.alignment is not None
        if self.view == "text" and "image" in self.raws and not (heads or self._reaches("image")):
            raise InputError(
                "a picture does not reach the texts of this index: align it (p5mm align INDEX)"
            )

    def _heads(self) -> Alignment | None:
        """The heads that the query goes through; None where its own encoders are enough."""
        alignment = self.index.alignment
        if alignment is None or self.view == JOINT:
            return alignment
        return None if all(self._reaches(side) for side in self.raws) else alignment

    def _reaches(self, side: str) -> bool:
        """Whether a side's encoder gives vectors in the space of the view without heads."""
        if side == self.view:
            return True
        if side == "image":
            return one_space(self.index.features)
        try:
            self._tower()
        except InputError:
            return False
        return True

    def _items(self, heads: Alignment | None) -> VectorIndex:
        """What is searched: the view, or its vectors through the heads."""
        views = self.index.views
        if self.view == JOINT:
            return views[JOINT if JOINT in views else "image"]
        view = views[self.view]
        if heads is None or not len(view):
            return view
        rows = [self.index.catalog.rows[item] for item in view.item_ids]
        vectors = self.index.features[self.view].vectors[rows]
        return VectorIndex.build(view.item_ids, heads.project(self.view, vectors), kind="exact")

    def _vector(self, side: str, heads: Alignment | None) -> NDArray[np.float32]:
        """One side of the query, ``[1, d]`` at unit length."""
        native = heads is not None or side in (self.view, "image")
        if native or (self.view == JOINT and JOINT in self.index.views):
            vector = _encoded(self._own(side), side, self.raws[side])
        else:
            vector = _encoded(self._tower(), side, self.raws[side])
        return vector if heads is None else heads.project(side, vector)

    def _own(self, side: str) -> Encoder:
        """The encoder that made the index's vectors of a side."""
        made = self.index.features[side]
        encoder = _encoder(made.spec, side, self.origin, self.trusted)
        if encoder.fingerprint != made.fingerprint:
            raise InputError(
                f"the index was made by {made.spec} with fingerprint {made.fingerprint}; the "
                f"{made.spec} of this installation has {encoder.fingerprint}. Their vectors "
                "cannot be compared: build the index again, or install the weights it was made with"
            )
        return encoder

    def _tower(self) -> Encoder:
        """The text tower of the encoder that made the vectors of pictures."""
        made = self.index.features["image"]
        try:
            return _tower(made.spec, made.fingerprint, self.origin, self.trusted)
        except InputError as error:
            raise InputError(f"words do not reach the pictures of this index: {error}") from error


def _encoded(encoder: Encoder, side: str, raw: Any) -> NDArray[np.float32]:
    try:
        loaded = encoder.load(raw)
    except (ValueError, OSError) as error:
        name = f" {raw}" if isinstance(raw, Path) else ""
        raise InputError(f"the {side} to search by{name} cannot be used: {error}") from error
    return unit(np.asarray(encoder.encode([loaded]), dtype=np.float32))


@lru_cache(maxsize=4)
def _encoder(spec: str, modality: str, origin: str | None, allowed: tuple[str, ...]) -> Encoder:
    return make_encoder(spec, modality, origin=origin, allowed=allowed)


@lru_cache(maxsize=2)
def _tower(spec: str, fingerprint: str, origin: str | None, allowed: tuple[str, ...]) -> Encoder:
    return text_tower(spec, fingerprint, origin=origin, allowed=allowed)
