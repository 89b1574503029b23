"""The retriever's loss: a softmax over items at every prefix of every history."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from p5mm.model.batches import Batch, scaled
from p5mm.model.network import Encoded, Network
from p5mm.share import Share

# Below so many times the negatives, the whole catalog costs hardly more and learns better.
FULL = 4

Losses = tuple[Tensor, Mapping[str, float]]


@dataclass(frozen=True)
class View:
    """The items that a step computes, in numbers of its own.

    Attributes:
        tokens: Soft tokens ``[v, k, d]``.
        vectors: Unit retrieval vectors ``[v, d]``.
        batch: The batch, in the view's numbers.
        negatives: ``[m]`` shared negatives in the view's numbers; None is the whole catalog.
        items: Items that negatives are drawn from.
    """

    tokens: Tensor
    vectors: Tensor
    batch: Batch
    negatives: Tensor | None
    items: int


@dataclass(frozen=True)
class RetrievalObjective:
    """The retriever's loss: a softmax over items at every prefix of every history.

    Attributes:
        negatives: Negatives shared by a batch; 0 is the softmax over the whole catalog.
        rating_scale: Mean and spread of the ratings, for the history's tokens.
        share: Of each batch that is computed here; negatives are those of the whole batch.
    """

    negatives: int
    rating_scale: tuple[float, float] = (0.0, 1.0)
    share: Share = field(default_factory=Share)

    def __call__(self, network: Network, batch: Batch) -> Losses:
        """The loss of a batch, or its share of that, and its parts as numbers."""
        mine = batch.take(self.share.rows(len(batch.rows))) if self.share.of > 1 else batch
        weight = int((mine.targets >= 0).sum()) / max(1, int((batch.targets >= 0).sum()))
        if not weight:
            return torch.zeros((), requires_grad=True), {"loss": 0.0}
        view = self.view(network, scaled(mine, self.rating_scale))
        self.share.part_ways()
        encoded = network.encode(view.tokens, view.batch)
        loss = weight * self.loss(encoded, view, network.temperature)
        return loss, {"loss": float(loss.detach())}

    def pool(self, network: Network, batch: Batch) -> Tensor:
        """Rows ``[m]`` that a batch's targets compete with, ascending: the trained items.

        Items that were never taken are no negatives: their content must stay free to rank.
        """
        return network.items.trained_rows

    def view(self, network: Network, batch: Batch) -> View:
        """The pool, or with shared negatives only those of it that the step needs."""
        pool = self.pool(network, batch)
        if not self.negatives or len(pool) <= FULL * self.negatives:
            return self._view(network, batch, pool, None, len(pool))
        drawn = pool[torch.randint(len(pool), (self.negatives,))]
        used = [batch.rows.flatten(), batch.targets[batch.targets >= 0], drawn]
        return self._view(network, batch, torch.unique(torch.cat(used)), drawn, len(pool))

    def _view(
        self, network: Network, batch: Batch, rows: Tensor, drawn: Tensor | None, items: int
    ) -> View:
        known = batch.targets >= 0
        targets = torch.searchsorted(rows, batch.targets.clamp(min=0)).masked_fill(~known, -1)
        local = torch.searchsorted(rows, batch.rows).clamp(max=len(rows) - 1)
        tokens = network.items(rows)
        return View(
            tokens,
            network.vectors(tokens),
            replace(batch, rows=local, targets=targets),
            None if drawn is None else torch.searchsorted(rows, drawn),
            items,
        )

    def loss(self, encoded: Encoded, view: View, temperature: float) -> Tensor:
        """Softmax over items at every prefix of every history."""
        real = view.batch.targets >= 0
        queries, targets = encoded.queries[real] / temperature, view.batch.targets[real]
        if view.negatives is None:
            return full_softmax(queries, view.vectors, targets)
        hits = targets[:, None] == view.negatives
        log_q = math.log(len(view.negatives) / view.items)
        return sampled_softmax(
            queries, view.vectors[targets], view.vectors[view.negatives], hits, log_q
        )


def full_softmax(queries: Tensor, items: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy of the target among all items.

    Args:
        queries: ``[p, d]``.
        items: ``[n, d]``.
        targets: ``[p]`` int64.
    """
    return F.cross_entropy(queries @ items.T, targets)


def sampled_softmax(
    queries: Tensor, positives: Tensor, negatives: Tensor, hits: Tensor, log_q: float
) -> Tensor:
    """Cross-entropy of the target among shared negatives, logits corrected by ``-log E[count]``.

    With uniform sampling the expected count of an item is ``negatives / n``, so the correction is
    one number (logQ; Bengio and Senecal 2008, Yi et al. 2019).

    Args:
        queries: ``[p, d]``.
        positives: ``[p, d]`` vectors of the targets.
        negatives: ``[m, d]`` vectors shared by all positions.
        hits: ``[p, m]`` bool, True where a negative is the position's own target.
        log_q: ``log(m / n)``.
    """
    own = (queries * positives).sum(-1, keepdim=True)
    others = (queries @ negatives.T - log_q).masked_fill(hits, -math.inf)
    logits = torch.cat([own, others], dim=1)
    return F.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.long, device=logits.device))
