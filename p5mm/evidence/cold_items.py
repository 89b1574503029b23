"""What stands in for items that nobody has taken: what was learned of items with such content."""

from dataclasses import dataclass
from typing import Any

import scipy.sparse as sp
import torch
from torch import Tensor
from torch.nn import functional as F

from p5mm.config import ColdConfig
from p5mm.evidence.similarity import strongest
from p5mm.fusion.item import ItemTokens
from p5mm.retrieval.tuning import largest_products

CHUNK = 1024


@dataclass(frozen=True)
class ColdItems:
    """What stands in for each item that was never taken.

    The fusion is trained on items that have ids besides and can learn them by heart; what it makes
    of a new item alone is worse than what two simple regressions from content to trained tokens
    make of it: the mean of its nearest taken items, and a ridge regression. Their mean is taken.

    Attributes:
        taken: ``[t]`` int64 items seen in training that have content, ascending.
        rows: ``[u]`` int64 items that were never taken and share a modality with one that was.
        nearest: ``[u, k]`` int64 the taken items most alike in content, best first.
        shares: ``[u, k]`` how much each of them counts; each row sums to 1.
        ridge: The regression; None where there are no such items.
    """

    taken: Tensor
    rows: Tensor
    nearest: Tensor
    shares: Tensor
    ridge: "Ridge | None"

    @classmethod
    @torch.inference_mode()
    def of(
        cls, items: ItemTokens, settings: ColdConfig, among: Tensor | None = None
    ) -> "ColdItems":
        """What stands in for a catalog's new items.

        Args:
            items: Of the whole catalog.
            settings: How many taken items a new one is made of, and how; cosines are averaged over
                the modalities that both have.
            among: Rows ``[m]`` outside which no new item is asked for; None asks for all.
        """
        there = items.present.float()
        taken = torch.nonzero(items.trained & items.present.any(dim=1)).flatten()
        common = there[taken].any(dim=0).float()
        new = ~items.trained & (there @ common > 0)
        if among is not None:
            new &= torch.zeros_like(new).index_fill(0, among, True)
        rows = torch.nonzero(new).flatten()
        nearest = torch.zeros(len(rows), min(settings.neighbours, len(taken)), dtype=torch.int64)
        if not len(rows):
            return cls(taken, rows, nearest, nearest.float(), None)
        unit = _unit(items)
        known, asked, alike = unit[taken], unit[rows], torch.empty(nearest.shape)
        kinds, kind = torch.unique(there[rows], dim=0, return_inverse=True)
        for number, modalities in enumerate(kinds):
            part, shared = kind == number, there[taken] @ modalities
            places, alike[part] = _nearest(asked[part], known, shared, nearest.shape[1])
            nearest[part] = taken[places]
        ridge = Ridge.of(known, asked, settings.ridge * len(items.modalities))
        return cls(taken, rows, nearest, (settings.sharpness * alike).softmax(dim=1), ridge)

    @torch.inference_mode()
    def adopt(self, tokens: Tensor) -> Tensor:
        """Soft tokens ``[n, k, d]`` of the whole catalog, in which new items have others."""
        if self.ridge is None:
            return tokens
        unit = F.normalize(tokens, dim=-1)
        mapped = torch.unflatten(self.ridge(unit[self.taken].flatten(1)), -1, tokens.shape[1:])
        mixed = F.normalize(self._mean(unit), dim=-1) + F.normalize(mapped, dim=-1)
        length = tokens[self.taken].norm(dim=-1).mean()
        return tokens.index_copy(0, self.rows, F.normalize(mixed, dim=-1) * length)

    def introduce(self, similar: Any, kept: int) -> Any:
        """Neighbours ``[n, n]`` CSR in which a new item is as near as those that stand in for it.

        Of all new items, each item gets its ``kept`` nearest.
        """
        if not len(self.rows):
            return similar
        rows = self.rows.repeat_interleave(self.nearest.shape[1]).numpy()
        entries = (self.shares.flatten().numpy(), (rows, self.nearest.flatten().numpy()))
        stands_for = sp.csr_matrix(entries, shape=similar.shape).T.tocsr()
        pieces = [
            strongest(similar[start : start + CHUNK] @ stands_for, kept)
            for start in range(0, similar.shape[0], CHUNK)
        ]
        return (similar + sp.vstack(pieces)).tocsr()

    def _mean(self, tokens: Tensor) -> Tensor:
        """``[u, k, d]`` the mean of the nearest taken items."""
        chunks = zip(self.nearest.split(CHUNK), self.shares.split(CHUNK), strict=True)  # type: ignore[no-untyped-call]
        return torch.cat([(tokens[n] * s[..., None, None]).sum(dim=1) for n, s in chunks])


@dataclass(frozen=True)
class Ridge:
    """A ridge regression whose inputs are known before its targets.

    Attributes:
        known: ``[t, dim]`` inputs with targets, their mean taken away.
        asked: ``[u, dim]`` inputs without, the same mean taken away.
        factor: ``[dim, dim]`` float64, Cholesky factor of the known inputs' Gram matrix.
    """

    known: Tensor
    asked: Tensor
    factor: Tensor

    @classmethod
    def of(cls, known: Tensor, asked: Tensor, penalty: float) -> "Ridge":
        """Factorise the Gram matrix."""
        middle = known.mean(dim=0)
        known, asked = known - middle, asked - middle
        gram = (known.T @ known).double()
        gram.diagonal().add_(penalty)
        return cls(known, asked, torch.linalg.cholesky(gram))

    def __call__(self, targets: Tensor) -> Tensor:
        """Predictions ``[u, outputs]`` from targets ``[t, outputs]``."""
        mean = targets.mean(dim=0)
        moments = (self.known.T @ (targets - mean)).double()
        weights = torch.cholesky_solve(moments, self.factor)
        return self.asked @ weights.to(targets.dtype) + mean


def _nearest(asked: Tensor, known: Tensor, shared: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Places and mean cosines ``[u, k]`` of the nearest; -inf where fewer share a modality.

    Args:
        asked: ``[u, dim]`` unit vectors of modalities side by side, all of the same ones.
        known: ``[t, dim]`` the same of any modalities.
        shared: ``[t]`` how many of those asked for each known one has.
        k: How many, at most ``t``.
    """
    able = torch.nonzero(shared).flatten()
    means = known[able] / shared[able, None]
    found = min(k, len(able))
    cosines, columns = largest_products(asked.numpy(), means.numpy(), found)
    places = F.pad(able[torch.from_numpy(columns)], (0, k - found))
    return places, F.pad(torch.from_numpy(cosines), (0, k - found), value=-torch.inf)


def _unit(items: ItemTokens) -> Tensor:
    """``[n, sum of dims]`` unit vectors of the modalities side by side; zero where absent."""
    parts = [
        F.normalize(items.vectors_of(name), dim=1) * items.present[:, [column]]
        for column, name in enumerate(items.modalities)
    ]
    return torch.cat(parts, dim=1)
