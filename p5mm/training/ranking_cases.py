"""What the reranker learns from: requests whose answers its retriever has not seen."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from p5mm.data.histories import Histories
from p5mm.data.split import Cases
from p5mm.metrics.validation import BATCH, spaced
from p5mm.ranking.scorer import Scorer

SHARE = 3  # of each training history one in so many is held back, the last ones;
LEAST = 2  # at least so many, but never more than half
MOST = 40_000  # cases, and half as many amid hidden items: each needs some 50 KB
FOLDS = 10  # shares of the items; each is hidden for some of the cases, as if it were new
HIDDEN = 2_000  # items at once: what stands in for each is looked for among all others


@dataclass(frozen=True)
class RankingCases:
    """Requests with all their candidates side by side; the target is one of them.

    Attributes:
        logits: ``[n, c]`` the retriever's, minus infinity where there is no candidate.
        facts: ``[n, c, f]``.
        relations: ``[n, c, s, r]`` float16, the last item of a history first.
        lengths: ``[n]`` int64 items of each history.
        targets: ``[n]`` int64 the target's place among the candidates.
    """

    logits: Tensor
    facts: Tensor
    relations: Tensor
    lengths: Tensor
    targets: Tensor

    @classmethod
    @torch.no_grad()
    def of(
        cls, scorer: Scorer, cases: Cases, most: int = MOST, seen: Histories | None = None
    ) -> "RankingCases":
        """The cases, in catalog rows, whose target the retriever finds.

        Args:
            scorer: The retriever, with relations at hand.
            cases: Of more than ``most`` cases as many, evenly spaced.
            most: How many cases are asked.
            seen: What is no candidate of each case; its history where None.
        """
        seen = cases.histories if seen is None else seen
        batches = [*spaced(cases, BATCH, most)] or [np.arange(0)]
        return cls.joined([_asked(scorer, cases.take(rows), seen.select(rows)) for rows in batches])

    @classmethod
    def joined(cls, parts: "list[RankingCases]") -> "RankingCases":
        """The cases of all parts; candidates and places are padded to the most of any part."""
        width = max(part.logits.shape[1] for part in parts)
        reach = max(part.relations.shape[2] for part in parts)
        padded = [_padded(part, width, reach) for part in parts]
        return cls(*(torch.cat(tensors) for tensors in zip(*padded, strict=True)))

    def __len__(self) -> int:
        return len(self.targets)

    def drawn(self, count: int, width: int) -> "RankingCases":
        """Some cases at random, in each the target first and others at random; all is float32.

        A softmax over a random part of the candidates has the same best logits as one over all.

        Args:
            count: Cases.
            width: Candidates of each.
        """
        which = torch.randperm(len(self))[:count]
        order = torch.rand(len(which), self.logits.shape[1])
        order = order.masked_fill(self.logits[which] == -torch.inf, -1.0)
        order = order.scatter(1, self.targets[which, None], 2.0)
        kept = which[:, None], order.topk(min(width, order.shape[1])).indices
        return RankingCases(
            self.logits[kept],
            self.facts[kept],
            self.relations[kept].float(),
            self.lengths[which],
            torch.zeros_like(which),
        )

    def take(self, which: Tensor) -> "RankingCases":
        """Some of the cases, in the order given; relations as float32."""
        return RankingCases(
            self.logits[which],
            self.facts[which],
            self.relations[which].float(),
            self.lengths[which],
            self.targets[which],
        )


def held_back(train: Histories) -> tuple[Histories, Cases]:
    """A log without the last items of each history, and these as cases.

    At most half of a history is held back: a user with one item keeps it.

    Args:
        train: Training histories.
    """
    lengths = train.lengths
    back = np.minimum(np.maximum(LEAST, lengths // SHARE), lengths // 2)
    users = np.repeat(np.arange(len(train)), back)
    nth = np.arange(len(users)) - np.repeat(np.cumsum(back) - back, back)
    known = (lengths - back)[users] + nth
    targets = train.items[train.offsets[users] + known]
    cases = Cases(users, train.select(users).head(known), targets)
    return train.head(lengths - back), cases


def hidden_items(items: Tensor, seed: int) -> list[Tensor]:
    """Disjoint shares ``[m]`` of some items ``[n]``, drawn by a seed."""
    order = torch.randperm(len(items), generator=torch.Generator().manual_seed(seed))
    return [items[order[fold::FOLDS][:HIDDEN]] for fold in range(min(FOLDS, len(items) - 1))]


def amid_new(cases: Cases, hidden: NDArray[np.bool_]) -> Cases:
    """The cases whose target is hidden, and as many others.

    So new items win far more often than in a shop. How many of its items are new nobody knows
    beforehand; their handicap makes up for it.

    Args:
        cases: In catalog rows.
        hidden: ``[n]`` bool, True at the items that are hidden.
    """
    new = hidden[cases.targets]
    others = np.flatnonzero(~new)
    some = np.linspace(0, len(others) - 1, min(len(others), int(new.sum()))).astype(np.int64)
    return cases.take(np.sort(np.concatenate([np.flatnonzero(new), others[some]])))


def unaware(cases: Cases, hidden: NDArray[np.bool_]) -> Cases:
    """The cases as if nobody had taken some items, ``[n]`` bool: histories lose them."""
    return replace(cases, histories=cases.histories.without(hidden))


def _asked(scorer: Scorer, cases: Cases, seen: Histories) -> RankingCases:
    """The cases whose target is found, of those given."""
    encoded = scorer.encode(cases.histories)
    rows = torch.from_numpy(scorer.retrieve(encoded, seen))
    hits = rows == torch.from_numpy(cases.targets)[:, None]
    found = torch.nonzero(hits.any(dim=1)).flatten()
    candidates = rows.clamp(min=0)
    logits = scorer.retrieval(encoded, candidates).masked_fill(rows < 0, -torch.inf)[found]
    encoded = replace(
        encoded, queries=encoded.queries[found], lengths=encoded.lengths[found],
        memory=encoded.memory[found],
    )  # fmt: skip
    read = scorer.read(encoded, cases.histories.select(found.numpy()), candidates[found])
    facts, relations, lengths = read
    return RankingCases(logits, facts, relations.half(), lengths, hits[found].int().argmax(dim=1))


def _padded(part: RankingCases, width: int, reach: int) -> tuple[Tensor, ...]:
    more, further = width - part.logits.shape[1], reach - part.relations.shape[2]
    pad = torch.nn.functional.pad
    return (
        pad(part.logits, (0, more), value=-torch.inf),
        pad(part.facts, (0, 0, 0, more)),
        pad(part.relations, (0, 0, 0, further, 0, more)),
        part.lengths,
        part.targets,
    )
