"""The candidates of a recommendation: the retriever's best, and the best of the new items."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from p5mm.data.histories import Histories
from p5mm.retrieval.index import VectorIndex

if TYPE_CHECKING:
    from torch import Tensor

    from p5mm.model.network import Network


@dataclass(frozen=True)
class Source:
    """Finds items in an index.

    Attributes:
        index: Retrieval vectors.
        rows: ``[m]`` int64 the catalog row of each row of the index, ascending.
        items: Size of the catalog.
    """

    index: VectorIndex
    rows: NDArray[np.int64]
    items: int

    def among(self, rows: NDArray[np.int64]) -> "Source":
        """The same index when only some catalog rows may be found."""
        places = np.flatnonzero(np.isin(self.rows, rows))
        if len(places) == len(self.rows):
            return self
        return Source(self.index.among(places), self.rows[places], self.items)

    def find(
        self, queries: NDArray[np.float32], never: Histories | None, count: int
    ) -> NDArray[np.int64]:
        """Catalog rows ``[b, count]`` (fewer columns where there are fewer items), best first.

        Args:
            queries: ``[b, d]``.
            never: Catalog rows that each may not get; None for none.
            count: How many items each gets.

        Returns:
            int64; -1 where there are no more items.
        """
        if not count or not len(self.rows):
            return np.empty((len(queries), 0), dtype=np.int64)
        longest = 0 if never is None else int(never.lengths.max(initial=0))
        places = self.index.rows(queries, min(count + longest, len(self.index)))
        rows = np.where(places < 0, -1, self.rows[places])
        return rows if never is None else first_allowed(rows, never, self.items, count)


@dataclass(frozen=True)
class Candidates:
    """Finds the best of the items that somebody took, and beside them the best of the new ones.

    A new item was no negative in training, so its logit cannot be compared with those of others.
    New items have places of their own among the candidates; how they compete is for the reranker
    to say, which has learned it of items hidden as if they were new.

    Attributes:
        index: Of all items of which something is known.
        taken: Finds those that somebody took.
        new: Finds the others, exactly: few among many are what an approximate index finds worst.
    """

    index: VectorIndex
    taken: Source
    new: Source

    @classmethod
    def of(
        cls,
        index: VectorIndex,
        vectors: NDArray[np.float32],
        known: NDArray[np.bool_],
        trained: NDArray[np.bool_],
    ) -> "Candidates":
        """Of an index of all known items, in the order of their rows.

        Args:
            index: Retrieval vectors.
            vectors: ``[n, d]`` the same of the whole catalog.
            known: ``[n]`` True where something is known of an item.
            trained: ``[n]`` True where somebody took it.
        """
        whole = Source(index, np.flatnonzero(known), len(known))
        taken = whole.among(np.flatnonzero(trained))
        rows = np.flatnonzero(known & ~trained)
        if not len(rows) or len(rows) == len(whole.rows):
            return cls(index, taken, whole.among(rows))
        places = np.searchsorted(whole.rows, rows)
        ids = [index.item_ids[place] for place in places.tolist()]
        exact = VectorIndex.build(ids, np.ascontiguousarray(vectors[rows]), kind="exact")
        return cls(index, taken, Source(exact, rows, len(known)))

    def among(self, rows: NDArray[np.int64]) -> "Candidates":
        """The same when only some catalog rows may be candidates."""
        return replace(self, taken=self.taken.among(rows), new=self.new.among(rows))


def first_allowed(
    rows: NDArray[np.int64], never: Histories, items: int, count: int
) -> NDArray[np.int64]:
    """The first rows of each line that it may get.

    Args:
        rows: ``[b, n]`` item rows, best first; -1 for none.
        never: ``b`` lists of rows that it may not.
        items: Size of the catalog.
        count: How many rows are kept.

    Returns:
        ``[b, count]`` (fewer where n is less), -1 beyond the last.
    """
    lines = np.arange(len(never))
    denied = np.repeat(lines, never.lengths) * items + never.items
    free = (rows >= 0) & ~np.isin(rows + lines[:, None] * items, denied)
    order = np.argsort(~free, axis=1, kind="stable")[:, :count]
    kept = np.take_along_axis(rows, order, axis=1)
    return np.where(np.take_along_axis(free, order, axis=1), kept, -1)


def parted(
    rows: NDArray[np.int64], logits: NDArray[np.float32], trained: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Of lists of rows those that somebody took, and the new ones, each by logit, -1 beyond.

    Args:
        rows: ``[b, n]`` catalog rows, -1 for none.
        logits: ``[b, n]`` of these rows.
        trained: ``[items]`` True where somebody took an item.
    """
    parts = []
    for wanted in (trained, ~trained):
        there = (rows >= 0) & wanted[rows]
        order = np.argsort(np.where(there, -logits, np.inf), axis=1, kind="stable")
        found = np.take_along_axis(np.where(there, rows, -1), order, axis=1)
        parts.append(found[:, : int(there.sum(axis=1).max(initial=0))])
    return parts[0], parts[1]


def candidate_index(
    network: "Network", vectors: "Tensor", item_ids: Sequence[str], kind: str
) -> VectorIndex:
    """An index of the items of which something is known; queries look like items."""
    known = network.items.known.nonzero().flatten()
    names = [item_ids[row] for row in known.tolist()]
    return VectorIndex.build(names, vectors[known].numpy(), kind=kind)
