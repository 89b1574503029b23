"""What a log says of items and of pairs of items."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from p5mm.data.histories import Histories
from p5mm.evidence.cold_items import ColdItems
from p5mm.evidence.similarity import cooccurrence, cosine_neighbours, strongest
from p5mm.evidence.slim import slim

WITHIN = 5  # a transition is counted to the next five items,
FADING = 0.5  # each place further half as much
PAIRS = ("together", "after", "slim")  # what is said of pairs


@dataclass(frozen=True)
class Counts:
    """What a log says of items and of pairs of items.

    Attributes:
        together: ``[n, n]`` CSR float32, cosine of the users who took both.
        after: ``[n, n]`` CSR float32; row i, column j: how often j came soon after i.
        slim: ``[n, n]`` CSR float32; row i, column j: what i adds to the prediction of j.
        taken: ``[n]`` float32, how many users took an item.
    """

    together: Any
    after: Any
    slim: Any
    taken: NDArray[np.float32]

    @classmethod
    def of(cls, train: Histories, items: int, kept: int) -> "Counts":
        """Count a log.

        Args:
            train: Histories in catalog rows; nothing that is held out may be in them.
            items: Size of the catalog.
            kept: The strongest pairs that are kept of each item.
        """
        both = cooccurrence(train, items)
        together = cosine_neighbours(both, kept)
        taken = np.bincount(train.items, minlength=items).astype(np.float32)
        after = transitions(train, taken, kept)
        return cls(together, after, slim(both, together), taken)

    def introducing(self, cold: ColdItems, kept: int) -> "Counts":
        """The same counts, in which a new item is near what those that stand in for it are."""
        pairs = {name: cold.introduce(getattr(self, name), kept) for name in PAIRS}
        return replace(self, **pairs)

    def without(self, rows: NDArray[np.int64]) -> "Counts":
        """The same counts as if nobody had taken the items at some rows ``[m]``.

        What is said of the others stays as it was counted beside them.
        """
        kept = np.ones(len(self.taken), dtype=np.float32)
        kept[rows] = 0
        mask = sp.diags(kept)
        pairs = {name: (mask @ getattr(self, name) @ mask).tocsr() for name in PAIRS}
        return Counts(**pairs, taken=self.taken * kept)

    def grown(self, items: int) -> "Counts":
        """The same counts among more items, of which nothing was counted."""
        pairs = {name: getattr(self, name).copy() for name in PAIRS}
        for matrix in pairs.values():
            matrix.resize(items, items)
        more = items - len(self.taken)
        return Counts(**pairs, taken=np.pad(self.taken, (0, more)))


def transitions(train: Histories, taken: NDArray[np.float32], kept: int) -> Any:
    """``[n, n]`` CSR: item j soon after item i, over the root of how often each was taken.

    Args:
        train: Histories in order of time.
        taken: ``[n]`` how many users took an item.
        kept: The strongest successors that are kept of each item.
    """
    users = np.repeat(np.arange(len(train)), train.lengths)
    shape, total = (len(taken), len(taken)), sp.csr_matrix((len(taken), len(taken)))
    for gap in range(1, WITHIN + 1):
        same = users[gap:] == users[:-gap]
        pairs = train.items[:-gap][same], train.items[gap:][same]
        values = np.full(len(pairs[0]), FADING ** (gap - 1))
        total = total + sp.csr_matrix((values, pairs), shape=shape)
    scale = sp.diags(1 / np.sqrt(taken + 1))
    return strongest(scale @ total @ scale, kept)
