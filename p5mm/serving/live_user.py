"""Somebody who is here right now: recommendations after each click, in raw ids."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from p5mm.arrays import Expected, read_arrays, write_arrays
from p5mm.data.histories import Histories
from p5mm.errors import InputError, unknown
from p5mm.files import whole_file
from p5mm.plain import reading
from p5mm.ranking.live_history import LiveHistory
from p5mm.ranking.trained_model import TrainedModel
from p5mm.retrieval.ties import MARGIN, settle
from p5mm.serving.requests import check_k, item_lists

REMEDY = "begin with the history again"


@dataclass(frozen=True)
class LiveUser:
    """A user of whom the encoder remembers what it has read; ``append`` gives the next.

    Attributes:
        model: Trained.
        live: The history so far.
    """

    model: TrainedModel
    live: LiveHistory

    @classmethod
    def of(cls, model: TrainedModel, history: Sequence[str] = ()) -> "LiveUser":
        """Begin with what somebody took, in order of time.

        Raises:
            InputError: An item is unknown.
        """
        return cls(
            model,
            LiveHistory.of(model.scorer, item_lists(model.catalog.rows, [history], strict=True)),
        )

    def append(self, item_id: str, rating: float = float("nan")) -> "LiveUser":
        """The same user after one item more.

        Raises:
            InputError: The item is unknown.
        """
        if item_id not in self.model.catalog.rows:
            raise unknown("item", item_id, self.model.catalog.rows)
        return replace(self, live=self.live.append(self.model.catalog.rows[item_id], rating))

    @property
    def history(self) -> list[str]:
        """Item ids, the first first."""
        return [self.model.catalog.item_ids[row] for row in self.live.history.items.tolist()]

    def recommend(self, k: int = 10, filter_seen: bool = True) -> pa.Table:
        """The best ``k`` items now: ``item_id``, ``score``, ``rank``, as for a history as long.

        Raises:
            InputError: k is not positive.
        """
        check_k(k)
        history = self.live.history
        rows, scores = self.model.scorer.ranked(
            self.live.encoded, history, k + MARGIN, history if filter_seen else None
        )
        settle(rows, scores)
        rows, scores = rows[:, :k], scores[:, :k]
        real = rows[0] >= 0
        return pa.table(
            {
                "item_id": [self.model.catalog.item_ids[row] for row in rows[0][real].tolist()],
                "score": pa.array(scores[0][real], pa.float32()),
                "rank": pa.array(np.arange(1, 1 + real.sum()), pa.int32()),
            }
        )

    def save(self, path: str | Path) -> None:
        """Write what is remembered, as safetensors.

        Raises:
            OSError: It cannot be written.
        """
        live = self.live
        arrays: dict[str, Any] = {
            "items": live.history.items,
            "memory": live.memory.numpy(),
            "model": self._digest,
        }
        if live.history.ratings is not None:  # no array of a file holds what is no number
            arrays["rated"] = ~np.isnan(live.history.ratings)
            arrays["ratings"] = np.nan_to_num(live.history.ratings)
        for number, (keys, values) in enumerate(live.kept):
            arrays |= {f"keys.{number}": keys.numpy(), f"values.{number}": values.numpy()}
        with whole_file(path) as draft:
            write_arrays(draft, arrays)

    @classmethod
    def load(cls, model: TrainedModel, path: str | Path) -> "LiveUser":
        """Read what ``save`` wrote; by the same model it goes on where it was.

        Raises:
            InputError: The file is damaged, or another model wrote it.
        """
        empty = cls.of(model)
        (_, heads, _, width), d = empty.live.kept[0][0].shape, empty.live.memory.shape[-1]
        arrays = read_arrays(Path(path), None, REMEDY)
        layers = range(len(empty.live.kept))
        with reading(Path(path), REMEDY):
            Expected((16,), ("uint8",)).check(arrays.get("model", np.empty(0)), "model")
            if not np.array_equal(arrays["model"], empty._digest):
                raise InputError("it was written by another model")
            items = arrays.get("items", np.empty(0))
            Expected((items.size,), ("int64",), 0, len(model.catalog) - 1).check(items, "items")
            read = min(len(items), model.scorer.asking.max_history)
            places = 1 + read * model.network.items.k
            shapes = {f"{kind}.{n}": (1, heads, places, width)
                      for kind in ("keys", "values") for n in layers}  # fmt: skip
            for name, shape in ({"memory": (1, places, d)} | shapes).items():
                Expected(shape).check(arrays.get(name, np.empty(0)), name)
            ratings = arrays.get("ratings")
            if ratings is not None:
                rated = arrays.get("rated", np.empty(0))
                Expected(items.shape, ("float32",)).check(ratings, "ratings")
                Expected(items.shape, ("bool",)).check(rated, "rated")
                ratings = np.where(rated, ratings, np.float32(np.nan))
        history = Histories(items, np.array([0, len(items)]), ratings)
        kept = tuple(
            (torch.from_numpy(arrays[f"keys.{n}"]), torch.from_numpy(arrays[f"values.{n}"]))
            for n in layers
        )
        memory = torch.from_numpy(arrays["memory"])
        return cls(model, LiveHistory(model.scorer, history, kept, memory))

    @cached_property
    def _digest(self) -> "np.ndarray[tuple[int], np.dtype[np.uint8]]":
        """Of what the encoder reads with: items and weights."""
        digest = hashlib.blake2b(digest_size=16)
        parts = [self.model.scorer.tokens, *self.model.network.t5.encoder.state_dict().values()]
        for tensor in parts:
            digest.update(tensor.contiguous().numpy().tobytes())
        return np.frombuffer(digest.digest(), np.uint8)
