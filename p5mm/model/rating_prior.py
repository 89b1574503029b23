"""What a rating is likely to be before the T5 reads: the item's mean and the user's leaning."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from p5mm.config import RatingConfig
from p5mm.data.histories import Histories
from p5mm.model.batches import Batch


class RatingPrior(nn.Module):
    """Logits of the rating levels from biases alone; the T5's are added to them.

    An expected rating (in units of the training ratings: mean 0, spread 1) is the item's shrunk
    mean plus the decayed mean of how far the user's ratings lay above the items' (the biases of
    Koren, Bell and Volinsky 2009, section "Adding biases", with the user's own drifting). The
    levels' logits are linear in it, and start as those of a normal distribution around it.

    Args:
        totals: ``[n]`` sum of each item's ratings in training, in those units.
        counts: ``[n]`` number of them.
        levels: Values of the levels, in those units.
        settings: How far means are shrunk, and how soon a user's leaning is forgotten.
    """

    def __init__(
        self, totals: Tensor, counts: Tensor, levels: Sequence[float], settings: RatingConfig
    ) -> None:
        super().__init__()
        self.settings = settings
        self.register_buffer("totals", totals)
        self.register_buffer("counts", counts)
        self.totals: Tensor
        self.counts: Tensor
        values = torch.tensor(levels, dtype=torch.float32)
        self.slopes = nn.Parameter(values / settings.spread**2)
        self.offsets = nn.Parameter(-(values**2) / (2 * settings.spread**2))

    @classmethod
    def of(
        cls,
        train: Histories,
        n_items: int,
        scale: tuple[float, float],
        levels: Sequence[float],
        settings: RatingConfig,
    ) -> "RatingPrior":
        """The prior of training histories.

        Args:
            train: With ratings.
            n_items: Catalog size.
            scale: Mean and spread of the ratings.
            levels: Values of the levels, as ratings are given.
            settings: Constants of the prior.
        """
        ratings = np.full(len(train.items), np.nan) if train.ratings is None else train.ratings
        known = ~np.isnan(ratings)
        above = (ratings[known] - scale[0]) / scale[1]
        totals = np.bincount(train.items[known], above, minlength=n_items)
        counts = np.bincount(train.items[known], minlength=n_items)
        return cls(
            torch.from_numpy(totals).float(),
            torch.from_numpy(counts).float(),
            [(level - scale[0]) / scale[1] for level in levels],
            settings,
        )

    def forward(
        self, batch: Batch, positions: Tensor, targets: Tensor, own: Tensor | None = None
    ) -> Tensor:
        """Logits ``[b, m, levels]`` of targets after ``positions`` items of their histories.

        Args:
            batch: Histories in catalog rows, ratings in units of the training ratings.
            positions: ``[b, m]`` int64.
            targets: ``[b, m]`` int64 catalog rows.
            own: ``[b, m]`` the targets' own ratings where they are among the training ratings:
                they are left out of their items' means. NaN for none.
        """
        expected = self.item(targets, own) + self.leaning(batch).gather(1, positions)
        return expected[..., None] * self.slopes + self.offsets

    def item(self, rows: Tensor, own: Tensor | None = None) -> Tensor:
        """Shrunk mean of each item in ``rows``, without its ``own`` rating."""
        totals, counts = self.totals[rows], self.counts[rows]
        if own is not None:
            totals = totals - own.nan_to_num(0.0)
            counts = counts - (~own.isnan()).float()
        return totals / (counts + self.settings.item_shrink)

    def leaning(self, batch: Batch) -> Tensor:
        """``[b, 1 + s]`` how far the user rates above the items' means, after each item."""
        known = ~batch.ratings.isnan()
        above = (batch.ratings - self.item(batch.rows)).masked_fill(~known, 0.0)
        places = torch.arange(batch.rows.shape[1] + 1)
        age = places[:, None] - 1 - places[None, :-1]
        weights = torch.where(age >= 0, self.settings.decay ** age.clamp(min=0).float(), 0.0)
        return (above @ weights.T) / (known.float() @ weights.T + self.settings.user_shrink)
