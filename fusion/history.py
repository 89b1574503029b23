"""A history as one row of soft tokens: a start token, then each item's, coloured by its rating."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class HistoryTokens(nn.Module):
    """Mixes item soft tokens with what else is known of the events.

    The start token makes the empty history a history like any other: what follows it is what
    people take first, so a user of whom nothing is known is served by the same model.

    Args:
        d: Width of a soft token.
        k: Soft tokens an item.
    """

    def __init__(self, d: int, k: int) -> None:
        super().__init__()
        self.k = k
        self.start = nn.Parameter(torch.randn(1, 1, d))
        self.rating = nn.Parameter(torch.zeros(d))

    def forward(self, tokens: Tensor, rows: Tensor, ratings: Tensor) -> Tensor:
        """Embeddings ``[b, 1 + s * k, d]``, the start token first.

        Args:
            tokens: Soft tokens ``[n, k, d]`` of the items that ``rows`` counts in.
            rows: ``[b, s]`` int64.
            ratings: ``[b, s]`` float32 on a scale of mean 0, NaN where unknown.
        """
        events = torch.unflatten(F.embedding(rows, tokens.flatten(1)), -1, (self.k, -1))
        events = F.normalize(events, dim=-1) * self.start.shape[-1] ** 0.5
        events = events + ratings.nan_to_num(0.0)[..., None, None] * self.rating
        start = self.start.expand(rows.shape[0], 1, -1)
        return torch.cat([start, events.flatten(1, 2)], dim=1)

    def ends(self, length: int) -> Tensor:
        """``[1 + length]`` places where the start token and each item's last token stand."""
        return torch.arange(length + 1) * self.k
