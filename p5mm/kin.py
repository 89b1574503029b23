"""New items among their kin: the taken items most alike in content stand in for them."""

from dataclasses import dataclass
from typing import Any

import scipy.sparse as sp
import torch
from torch import Tensor
from torch.nn import functional as F

from p5mm.fusion.item import ItemTokens

COUNT = 50
SHARPNESS = 8.0
CHUNK = 1024


@dataclass(frozen=True)
class Kin:
    """What stands in for each item that was never taken.

    What the fusion makes of content alone is a place among items where only few have been seen to
    lie; what was learned of the items around it says more of who will take it.

    Attributes:
        rows: ``[u]`` int64 items that were never taken but have content.
        nearest: ``[u, k]`` int64 the taken items most alike in content, best first.
        shares: ``[u, k]`` how much each of them counts; each row sums to 1.
    """

    rows: Tensor
    nearest: Tensor
    shares: Tensor

    @classmethod
    @torch.inference_mode()
    def of(cls, items: ItemTokens, count: int = COUNT, sharpness: float = SHARPNESS) -> "Kin":
        """The kin of a catalog's new items: highest mean cosine over the modalities.

        Args:
            items: Of the whole catalog.
            count: Kin of an item, at most.
            sharpness: A kin of cosine ``c`` counts in proportion to ``exp(sharpness * c)``.
        """
        taken, vectors = items.trained_rows, _unit(items)
        rows = torch.nonzero(items.known & ~items.trained).flatten()
        nearest = torch.zeros(len(rows), min(count, len(taken)), dtype=torch.int64)
        alike = torch.zeros(nearest.shape)
        for start in range(0, len(rows) if len(taken) else 0, CHUNK):
            part = slice(start, start + CHUNK)
            best = (vectors[rows[part]] @ vectors[taken].T).topk(nearest.shape[1])
            nearest[part], alike[part] = taken[best.indices], best.values
        return cls(rows if len(taken) else rows[:0], nearest, (sharpness * alike).softmax(dim=1))

    def adopt(self, tokens: Tensor) -> Tensor:
        """Soft tokens ``[n, k, d]`` in which a new item has the mean of its kin's."""
        adopted = tokens.clone()
        for start in range(0, len(self.rows), CHUNK):
            part = slice(start, start + CHUNK)
            theirs = tokens[self.nearest[part]] * self.shares[part][..., None, None]
            adopted[self.rows[part]] = theirs.sum(dim=1)
        return adopted

    def introduce(self, similar: Any) -> Any:
        """Neighbours ``[n, n]`` CSR in which a new item is as near as its kin are on average."""
        if not len(self.rows):
            return similar
        count = self.nearest.shape[1]
        rows = self.rows.repeat_interleave(count).numpy()
        entries = (self.shares.flatten().numpy(), (rows, self.nearest.flatten().numpy()))
        stands_for = sp.csr_matrix(entries, shape=similar.shape)
        return (similar + similar @ stands_for.T).tocsr()


def _unit(items: ItemTokens) -> Tensor:
    """``[n, sum of dims]``: products are cosines, averaged over the modalities of both."""
    parts = [
        F.normalize(items.vectors_of(name), dim=1) * items.present[:, [column]]
        for column, name in enumerate(items.modalities)
    ]
    return torch.cat(parts, dim=1) / len(parts) ** 0.5 if parts else torch.zeros(len(items), 0)
