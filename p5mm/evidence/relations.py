"""What a candidate has to do with each item of a history: the evidence that the T5 weighs."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional as F

from p5mm.data.histories import Histories
from p5mm.evidence.counts import PAIRS, Counts
from p5mm.evidence.pair_values import PairValues
from p5mm.evidence.recency import latest
from p5mm.model.relation_reader import LEARNED, relation_names


@dataclass(frozen=True)
class Relations:
    """Relations of candidates to the last items of a history.

    Attributes:
        counts: Of the log that was learned from.
        vectors: Name to unit vectors ``[n, dim]`` whose cosine is a relation, zero where absent.
        reach: Items of a history that are looked at, from its end.
        rating_scale: Mean and spread of ratings in training.
    """

    counts: Counts
    vectors: Mapping[str, Tensor]
    reach: int
    rating_scale: tuple[float, float] = (0.0, 1.0)

    @classmethod
    def of(
        cls,
        counts: Counts,
        content: Mapping[str, Tensor],
        learned: Tensor,
        reach: int,
        rating_scale: tuple[float, float],
    ) -> "Relations":
        """Of counts, content vectors ``[n, dim]`` of any length, and retrieval vectors."""
        vectors = {name: F.normalize(v, dim=1) for name, v in content.items()}
        return cls(counts, vectors | {LEARNED: learned}, reach, rating_scale)

    @property
    def names(self) -> tuple[str, ...]:
        """What each column of the relations is."""
        return relation_names(name for name in self.vectors if name != LEARNED)

    def __call__(self, histories: Histories, candidates: Tensor) -> Tensor:
        """Relations ``[b, n, s, r]`` float32 of candidate rows ``[b, n]``.

        Place 0 of ``s`` is the last item of a history; what it does not have is zero, and so is
        what an item has to do with itself: the decoder learns from items that were not taken.
        """
        rows, ratings, real = latest(histories, self.reach, self.rating_scale)
        items = torch.from_numpy(rows)
        columns = [*torch.from_numpy(self._pairs(rows, candidates.numpy())).unbind(dim=-1)]
        for vectors in self.vectors.values():
            own, past = F.embedding(candidates, vectors), F.embedding(items, vectors)
            columns.append(own @ past.transpose(1, 2))
        columns.append(torch.from_numpy(ratings)[:, None].expand(columns[0].shape))
        others = torch.from_numpy(real)[:, None] & (items[:, None] != candidates[..., None])
        return torch.stack(columns, dim=-1) * others[..., None]

    @cached_property
    def _pairs(self) -> PairValues:
        return PairValues.of([getattr(self.counts, name) for name in PAIRS])

    def facts(self, logits: Tensor, histories: Histories, candidates: Tensor) -> Tensor:
        """``FACTS`` ``[b, n, 4]`` float32 of candidate rows ``[b, n]`` with their logits."""
        taken = torch.from_numpy(self.counts.taken)[candidates]
        lengths = torch.from_numpy(histories.lengths).float().log1p()
        lengths = lengths[:, None].expand(logits.shape)
        return torch.stack([logits, taken.log1p(), (taken == 0).float(), lengths], dim=-1)
