"""A history that somebody is adding to: one more item costs one more position of the encoder."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from p5mm.data.histories import Histories
from p5mm.model.network import Encoded
from p5mm.ranking.scorer import Scorer

KeysValues = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class LiveHistory:
    """One history with what the encoder remembers of it; never changed, only followed by another.

    The encoder is causal, so that what it has read stays as it is when an item follows. Only a
    history longer than the encoder reads is read anew, for its first item leaves.

    Attributes:
        scorer: Whose encoder reads.
        history: One history, whole.
        kept: Of each layer, keys and values ``[1, heads, 1 + s * k, d_kv]`` of what is read.
        memory: ``[1, 1 + s * k, d]`` encoder states.
    """

    scorer: Scorer
    history: Histories
    kept: tuple[KeysValues, ...]
    memory: Tensor

    @classmethod
    @torch.inference_mode()
    def of(cls, scorer: Scorer, history: Histories) -> "LiveHistory":
        """Read one history from the start."""
        batch = scorer.batch(history)
        length = int(batch.lengths[0])
        rows, ratings = batch.rows[:, :length], batch.ratings[:, :length]
        x = scorer.network.history(scorer.tokens, rows, ratings)
        bias = scorer.network.t5.encoder.position_bias(x.shape[1], causal=True)
        memory, kept = _read(scorer, x, (), bias)
        return cls(scorer, history, kept, memory)

    @torch.inference_mode()
    def append(self, item: int, rating: float = float("nan")) -> "LiveHistory":
        """The history with one item more.

        Args:
            item: Catalog row.
            rating: As the log has it; NaN where unknown.
        """
        history = _followed(self.history, item, rating)
        scorer, k = self.scorer, self.scorer.network.items.k
        read = (self.memory.shape[1] - 1) // k
        if read == scorer.asking.max_history:
            return LiveHistory.of(scorer, history)
        mean, spread = scorer.asking.rating_scale
        ratings = torch.tensor([[(rating - mean) / spread]])
        x = scorer.network.history(scorer.tokens, torch.tensor([[item]]), ratings)[:, 1:]
        length = self.memory.shape[1] + x.shape[1]
        states, kept = _read(scorer, x, self.kept, scorer.appended_bias[..., -length:])
        return LiveHistory(scorer, history, kept, torch.cat([self.memory, states], dim=1))

    @property
    def encoded(self) -> Encoded:
        """What ``Scorer.encode`` makes of the history; but for the last, queries are not made."""
        k = self.scorer.network.items.k
        length = (self.memory.shape[1] - 1) // k
        query = F.normalize(self.memory[:, -1:], dim=-1).expand(-1, 1 + length, -1)
        encoded = Encoded(self.memory, query, torch.tensor([length]), k)
        return self.scorer.asked(encoded, self.history)


def _read(
    scorer: Scorer, x: Tensor, kept: tuple[KeysValues, ...], bias: Tensor
) -> tuple[Tensor, tuple[KeysValues, ...]]:
    """States ``[1, n, d]`` of further positions ``[1, n, d]``, and all keys and values.

    Args:
        scorer: Whose encoder reads; in evaluation mode.
        x: Embeddings.
        kept: Of each layer, keys and values of the positions before them; empty without any.
        bias: ``[1, heads, n, before + n]`` of the position to those before it and to these.
    """
    encoder = scorer.network.t5.encoder
    grown: list[KeysValues] = []
    for number, block in enumerate(encoder.block):
        attention, feed_forward = block.layer
        h = attention.layer_norm(x)
        keys, values = attention.sublayer.keys_values(h)
        if kept:
            keys = torch.cat([kept[number][0], keys], dim=2)
            values = torch.cat([kept[number][1], values], dim=2)
        x = x + attention.sublayer(h, keys, values, bias)
        x = x + feed_forward.sublayer(feed_forward.layer_norm(x))
        grown.append((keys, values))
    return encoder.final_layer_norm(x), tuple(grown)


def _followed(history: Histories, item: int, rating: float) -> Histories:
    items = np.append(history.items, np.int64(item))
    ratings = history.ratings
    if ratings is None and not np.isnan(rating):
        ratings = np.full(len(history.items), np.nan, dtype=np.float32)
    if ratings is not None:
        ratings = np.append(ratings, np.float32(rating))
    return Histories(items, np.array([0, len(items)]), ratings)
