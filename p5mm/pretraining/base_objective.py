"""What a step of a pretraining minimises."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from p5mm.model.batches import Batch
from p5mm.model.network import Network
from p5mm.model.tokenizer import PAD
from p5mm.pretraining.domains import DomainObjective
from p5mm.pretraining.reviews import Reviews, drawn
from p5mm.pretraining.self_supervised import (
    MASKED,
    MATCHING,
    SPANS,
    Spans,
    masked_history,
    matching,
)
from p5mm.pretraining.titles import TITLE, TOGETHER, Titles
from p5mm.training.retrieval_objective import Losses, View

MEASURED = 1_000  # held-out titles whose loss is told
WORTH = 0.3  # of a task's mean likelihood of a word, beside NDCG@10


@dataclass(frozen=True)
class BaseObjective:
    """What a step of a pretraining minimises: the next item, what its items say, reviews.

    Attributes:
        ranking: The next item at every prefix.
        titles: Of all catalogs.
        spans: Texts of all catalogs; those of items whose titles are held out are never learned.
        weights: How often title, masked, matching and spans are drawn beside the ranking; those
            that are missing never.
        reviews: To learn from; None where there are none.
        valid: Reviews that tell how well they are learned.
    """

    ranking: DomainObjective
    titles: Titles
    spans: Spans
    weights: Mapping[str, float]
    reviews: Reviews | None = None
    valid: Reviews | None = None

    @property
    def writes(self) -> bool:
        """Whether the decoder learns anything."""
        return not {TITLE, SPANS}.isdisjoint(self.weights) or self.reviews is not None

    def __call__(self, network: Network, batch: Batch) -> Losses:
        """The loss of a batch, and that of the ranking as a number."""
        view = self.ranking.view(network, batch)
        encoded = network.encode(view.tokens, view.batch)
        loss = self.ranking.loss(encoded, view, network.temperature)
        told = {"loss": float(loss.detach())}
        for name, scale in drawn(self.weights).items():
            loss = loss + scale * self._of_items(name, network, view, batch)
        if self.reviews is not None:
            loss = loss + self.reviews.step()
        return loss, told

    def _of_items(self, name: str, network: Network, view: View, batch: Batch) -> Tensor:
        """The loss of a task about the items or the histories of a batch."""
        if name == MASKED:
            return masked_history(network, self.ranking, view)
        rows = torch.unique(batch.targets[batch.targets >= 0])
        rows = rows[~self.titles.held_out[rows]]
        if name != MATCHING:
            words = self.titles.words if name == TITLE else self.spans.words
            rows = rows[words[rows, 0] != PAD]
        rows = rows[torch.randperm(len(rows))[:TOGETHER]]
        if not len(rows):
            return torch.zeros(())
        if name == MATCHING:
            return matching(network, rows, self.spans.words[rows])
        task = self.titles if name == TITLE else self.spans
        return task.loss(network, rows)

    @torch.no_grad()
    def held_out(self, network: Network) -> dict[str, float]:
        """The loss of titles that are never learned, and of the reviews for validation."""
        told = {} if self.valid is None else self.valid.held_out()
        return self._held_out_titles(network) | {f"{name} loss": of for name, of in told.items()}

    def likely(self, losses: Mapping[str, float]) -> float:
        """How likely a word of each task is on average: as the ranking, better the higher."""
        return WORTH * sum(math.exp(-loss) for loss in losses.values())

    def _held_out_titles(self, network: Network) -> dict[str, float]:
        rows = torch.nonzero(self.titles.held_out & (self.titles.words[:, 0] != PAD)).flatten()
        if TITLE not in self.weights or not len(rows):
            return {}
        places = torch.linspace(0, len(rows) - 1, min(MEASURED, len(rows))).long()
        parts = [*rows[places].split(TOGETHER)]  # type: ignore[no-untyped-call]
        losses = [float(self.titles.loss(network, part)) * len(part) for part in parts]
        return {f"{TITLE} loss": sum(losses) / len(places)}
