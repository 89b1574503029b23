"""Sequences of items in integers: who took what, in order."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Histories:
    """Item sequences of many users in one flat array (CSR).

    Attributes:
        items: ``[n]`` int64 item rows, a user's items together and in order of time.
        offsets: ``[users + 1]`` int64; user ``u`` has ``items[offsets[u]:offsets[u + 1]]``.
        ratings: ``[n]`` float32 aligned with ``items``, NaN where unknown; None without ratings.
    """

    items: NDArray[np.int64]
    offsets: NDArray[np.int64]
    ratings: NDArray[np.float32] | None = None

    @classmethod
    def from_lists(cls, lists: Sequence[Sequence[int]]) -> "Histories":
        """Histories of plain lists of item rows.

        Example:
            >>> Histories.from_lists([[3, 1], [2]])[0].tolist()
            [3, 1]
        """
        lengths = np.array([len(items) for items in lists], dtype=np.int64)
        flat = [np.asarray(items, dtype=np.int64) for items in lists if len(items)]
        items = np.concatenate(flat) if flat else np.empty(0, dtype=np.int64)
        return cls(items, np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))

    @classmethod
    def joined(cls, parts: Sequence["Histories"]) -> "Histories":
        """The histories of some parts after each other; ratings are NaN where a part has none."""
        items = np.concatenate([part.items for part in parts])
        lengths = np.concatenate([part.lengths for part in parts])
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        if all(part.ratings is None for part in parts):
            return cls(items, offsets)
        unrated = [np.full(len(part.items), np.nan, np.float32) for part in parts]
        ratings = [
            none if part.ratings is None else part.ratings
            for part, none in zip(parts, unrated, strict=True)
        ]
        return cls(items, offsets, np.concatenate(ratings))

    def beside(self, other: "Histories") -> "Histories":
        """The items of each user, and after them those that the other has of the same user."""
        both = Histories(
            np.concatenate([self.items, other.items]),
            np.concatenate([self.offsets, self.offsets[-1] + other.offsets[1:]]),
        )
        order = np.arange(2 * len(self)).reshape(2, -1).T.ravel()
        joined = both.select(order)
        return Histories(joined.items, joined.offsets[::2])

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, user: int) -> NDArray[np.int64]:
        return self.items[self.offsets[user] : self.offsets[user + 1]]

    @property
    def lengths(self) -> NDArray[np.int64]:
        """``[users]`` number of items of each user."""
        return np.diff(self.offsets)

    def select(self, users: NDArray[np.int64]) -> "Histories":
        """The histories of some users, in the order given."""
        return self._gather(self.offsets[users], self.lengths[users])

    def head(self, lengths: NDArray[np.int64]) -> "Histories":
        """The first items of every user; ``lengths`` is ``[users]``, at most what there is."""
        return self._gather(self.offsets[:-1], lengths)

    def tail(self, lengths: NDArray[np.int64]) -> "Histories":
        """The last items of every user; ``lengths`` is ``[users]``, at most what there is."""
        return self._gather(self.offsets[1:] - lengths, lengths)

    def without_last(self, n: int) -> "Histories":
        """The histories without their last ``n`` items (empty where there are no more)."""
        return self.head(np.maximum(self.lengths - n, 0))

    def padded(self) -> NDArray[np.int64]:
        """``[users, longest]`` the items, -1 where there are no more."""
        real = np.arange(self.lengths.max(initial=0)) < self.lengths[:, None]
        rows = np.full(real.shape, -1, dtype=np.int64)
        rows[real] = self.items
        return rows

    def without(self, items: NDArray[np.bool_]) -> "Histories":
        """The histories without some items: ``[items]`` bool, True at those left out."""
        keep = ~items[self.items]
        offsets = np.concatenate([[0], np.cumsum(keep)])[self.offsets].astype(np.int64)
        ratings = None if self.ratings is None else self.ratings[keep]
        return Histories(self.items[keep], offsets, ratings)

    def _gather(self, starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> "Histories":
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        within = np.arange(offsets[-1]) - np.repeat(offsets[:-1], lengths)
        take = np.repeat(starts, lengths) + within
        ratings = None if self.ratings is None else self.ratings[take]
        return Histories(self.items[take], offsets, ratings)
