"""New items among their kin: what was learned of taken items with such content stands in."""

from dataclasses import dataclass
from typing import Any

import scipy.sparse as sp
import torch
from torch import Tensor
from torch.nn import functional as F

from p5mm.fusion.item import ItemTokens

COUNT = 50
SHARPNESS = 8.0
RIDGE = 1.0
CHUNK = 1024


@dataclass(frozen=True)
class Kin:
    """What stands in for each item that was never taken.

    The fusion is trained on items that have ids besides and can learn them by heart; what it makes
    of a new item alone is worse than what two simple regressions from content to trained tokens
    make of it: the mean of its nearest kin, and a ridge regression. Their mean is taken.

    Attributes:
        content: ``[n, dim]``: products are cosines, averaged over the modalities of both items;
            empty where there are no new items.
        taken: ``[t]`` int64 items seen in training, ascending.
        rows: ``[u]`` int64 items that were never taken but have content.
        nearest: ``[u, k]`` int64 the taken items most alike in content, best first.
        shares: ``[u, k]`` how much each of them counts; each row sums to 1.
    """

    content: Tensor
    taken: Tensor
    rows: Tensor
    nearest: Tensor
    shares: Tensor

    @classmethod
    @torch.inference_mode()
    def of(cls, items: ItemTokens, count: int = COUNT, sharpness: float = SHARPNESS) -> "Kin":
        """The kin of a catalog's new items.

        Args:
            items: Of the whole catalog.
            count: Kin of an item, at most.
            sharpness: A kin of cosine ``c`` counts in proportion to ``exp(sharpness * c)``.
        """
        taken = items.trained_rows
        rows = torch.nonzero(items.known & ~items.trained).flatten()
        rows = rows if len(taken) else rows[:0]
        content = _unit(items) if len(rows) else torch.zeros(0, 0)
        nearest = torch.zeros(len(rows), min(count, len(taken)), dtype=torch.int64)
        alike = torch.zeros(nearest.shape)
        for start in range(0, len(rows), CHUNK):
            part = slice(start, start + CHUNK)
            best = (content[rows[part]] @ content[taken].T).topk(nearest.shape[1])
            nearest[part], alike[part] = taken[best.indices], best.values
        return cls(content, taken, rows, nearest, (sharpness * alike).softmax(dim=1))

    @torch.inference_mode()
    def adopt(self, tokens: Tensor) -> Tensor:
        """Soft tokens ``[n, k, d]`` of the whole catalog, in which new items have others."""
        if not len(self.rows):
            return tokens
        unit = F.normalize(tokens, dim=-1)
        mixed = F.normalize(self._mean(unit), dim=-1) + F.normalize(self._mapped(unit), dim=-1)
        length = tokens[self.taken].norm(dim=-1).mean()
        return tokens.index_copy(0, self.rows, F.normalize(mixed, dim=-1) * length)

    def introduce(self, similar: Any) -> Any:
        """Neighbours ``[n, n]`` CSR in which a new item is as near as its kin are on average."""
        if not len(self.rows):
            return similar
        rows = self.rows.repeat_interleave(self.nearest.shape[1]).numpy()
        entries = (self.shares.flatten().numpy(), (rows, self.nearest.flatten().numpy()))
        stands_for = sp.csr_matrix(entries, shape=similar.shape)
        return (similar + similar @ stands_for.T).tocsr()

    def _mean(self, tokens: Tensor) -> Tensor:
        """``[u, k, d]`` the mean of the kin."""
        chunks = zip(self.nearest.split(CHUNK), self.shares.split(CHUNK), strict=True)  # type: ignore[no-untyped-call]
        return torch.cat([(tokens[n] * s[..., None, None]).sum(dim=1) for n, s in chunks])

    def _mapped(self, tokens: Tensor) -> Tensor:
        """``[u, k, d]`` a ridge regression from content to the tokens of the taken items."""
        x, y = self.content[self.taken].double(), tokens[self.taken].flatten(1).double()
        middle, mean = x.mean(0), y.mean(0)
        x = x - middle
        gram = x.T @ x + RIDGE * torch.eye(x.shape[1], dtype=x.dtype)
        weights = torch.linalg.solve(gram, x.T @ (y - mean))
        mapped = (self.content[self.rows].double() - middle) @ weights + mean
        return torch.unflatten(mapped.float(), -1, tokens.shape[1:])


def _unit(items: ItemTokens) -> Tensor:
    """``[n, sum of dims]`` unit vectors of the modalities side by side; zero where absent."""
    parts = [
        F.normalize(items.vectors_of(name), dim=1) * items.present[:, [column]]
        for column, name in enumerate(items.modalities)
    ]
    return torch.cat(parts, dim=1) / len(parts) ** 0.5 if parts else torch.zeros(len(items), 0)
