"""Headlines of reviews: the decoder learns to write what somebody would say of an item."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor

from p5mm.config import Config
from p5mm.data.histories import Histories
from p5mm.data.interactions import Interactions
from p5mm.data.split import Split
from p5mm.errors import InputError
from p5mm.model.batches import history_batch, scaled
from p5mm.model.network import Network, words_loss
from p5mm.model.tokenizer import PAD, beginning, tokens_of
from p5mm.ranking.headlines import REVIEW
from p5mm.ranking.writing import WRITTEN
from p5mm.share import Share

TOGETHER = 256  # headlines in memory at once


@dataclass(frozen=True)
class Headlines:
    """Headlines, each with what was known before it: who wrote it, after which items, of which.

    Attributes:
        histories: In catalog rows.
        users: ``[m]`` int64 whose history each headline belongs to.
        before: ``[m]`` int64 how many items of that history came before.
        texts: ``m`` of them, none empty.
    """

    histories: Histories
    users: NDArray[np.int64]
    before: NDArray[np.int64]
    texts: Sequence[str]

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def items(self) -> NDArray[np.int64]:
        """``[m]`` catalog row of the item that each is about."""
        rows: NDArray[np.int64] = self.histories.offsets[self.users] + self.before
        return self.histories.items[rows]

    def take(self, which: NDArray[np.int64]) -> "Headlines":
        """Some of them, in the order given."""
        texts = [self.texts[row] for row in which.tolist()]
        return Headlines(self.histories, self.users[which], self.before[which], texts)

    def among(self, trained: NDArray[np.bool_]) -> "Headlines":
        """Those about items ``[n]`` bool that were learned."""
        return self.take(np.flatnonzero(trained[self.items]))

    @property
    def beginnings(self) -> list[str]:
        """As much of the texts as is learned, for the tokenizer."""
        return [beginning(text, WRITTEN) for text in self.texts]

    @property
    def digest(self) -> str:
        """Of the texts and where they stand."""
        digest = hashlib.blake2b(self.users.tobytes() + self.before.tobytes(), digest_size=16)
        for text in self.texts:
            digest.update(text.encode() + b"\0")
        return digest.hexdigest()

    def known(self, which: NDArray[np.int64]) -> Histories:
        """The histories before some of them."""
        return self.histories.select(self.users[which]).head(self.before[which])


def read_headlines(
    config: Config, log: Interactions, items: Sequence[str], rows: NDArray[np.int64], split: Split
) -> tuple[Headlines, Headlines] | None:
    """The headlines of the training part, and of the validation cases; None where none is learned.

    Args:
        config: Says whether reviews are a task.
        log: That was split.
        items: Ids of the items of the split.
        rows: ``[items]`` int64 catalog row of each.
        split: In numbers of ``items``.

    Raises:
        InputError: Reviews are a task, and the training part has no headline.
    """
    if not config.train.epochs or not config.train.tasks.get(REVIEW):
        return None
    texts, before = log.headlines(items), split.before("valid")
    none = np.zeros_like(before)
    train = _headlines(split.log, rows, texts, none, split.train.lengths)
    if not len(train):
        raise InputError(
            f"train.tasks has {REVIEW}, and no interaction that is learned from has a headline; "
            f"give the log a column headline (or summary, review_title), or leave {REVIEW} out"
        )
    return train, _headlines(split.log, rows, texts, before, before + 1)


def _headlines(
    log: Histories,
    rows: NDArray[np.int64],
    texts: Sequence[str | None],
    first: NDArray[np.int64],
    last: NDArray[np.int64],
) -> Headlines:
    """The headlines at places ``[first, last)`` of each history; nothing later is kept."""
    part = log.head(last)
    users = np.repeat(np.arange(len(part)), part.lengths)
    before = np.arange(len(users)) - part.offsets[users]
    told = [texts[at] for at in log.offsets[users] + before]
    there = np.array([text is not None for text in told], np.bool_)
    kept = np.flatnonzero(there & (before >= first[users]))
    part = replace(part, items=rows[part.items])
    return Headlines(part, users[kept], before[kept], [told[at] or "" for at in kept])


@dataclass(frozen=True)
class HeadlineObjective:
    """Cross-entropy of the words of headlines, asked for after the history before each.

    Attributes:
        headlines: About items that were learned, after histories of such.
        words: ``[m, WRITTEN]`` int64 their tokens, closed and padded.
        max_history: Items of a history that are read.
        rating_scale: Mean and spread of the ratings, for the history's tokens.
    """

    headlines: Headlines
    words: Tensor
    max_history: int
    rating_scale: tuple[float, float]

    @classmethod
    def of(
        cls,
        headlines: Headlines,
        tokenizer: Tokenizer,
        max_history: int,
        rating_scale: tuple[float, float],
    ) -> "HeadlineObjective":
        """The headlines in tokens; without those that have none."""
        words = tokens_of(tokenizer, headlines.texts, WRITTEN, closed=True)
        some = words[:, 0] != PAD
        headlines = headlines.take(np.flatnonzero(some.numpy()))
        return cls(headlines, words[some], max_history, rating_scale)

    def __len__(self) -> int:
        return len(self.words)

    def step(
        self,
        network: Network,
        tokens: Tensor,
        places: Tensor,
        prompt: Sequence[int],
        count: int,
        share: Share,
    ) -> Tensor:
        """The loss of some headlines at random, or a share of that.

        Args:
            network: Reads and writes; what it has read gets no gradient.
            tokens: Soft tokens ``[t, k, d]`` of the trained items.
            places: ``[n]`` int64 place of each catalog row among them.
            prompt: Token ids.
            count: Headlines.
            share: Of them that is computed here.
        """
        drawn = torch.randperm(len(self))[:count]
        mine = drawn[share.rows(len(drawn))]
        if not len(mine):
            return torch.zeros((), requires_grad=True)
        share.part_ways()
        weight = self._count(mine) / self._count(drawn)
        return weight * self._loss(network, tokens, places, prompt, mine)

    def mean(
        self, network: Network, tokens: Tensor, places: Tensor, prompt: Sequence[int]
    ) -> float | None:
        """The mean loss of a word of all headlines; None without any. Arguments as for a step."""
        if not len(self):
            return None
        total = 0.0
        for which in torch.arange(len(self.words)).split(TOGETHER):  # type: ignore[no-untyped-call]
            loss = self._loss(network, tokens, places, prompt, which)
            total += float(loss) * self._count(which)
        return total / self._count(torch.arange(len(self)))

    def _count(self, which: Tensor) -> int:
        """Words of some headlines."""
        return int((self.words[which] != PAD).sum())

    def _loss(
        self, network: Network, tokens: Tensor, places: Tensor, prompt: Sequence[int], which: Tensor
    ) -> Tensor:
        rows = which.numpy()
        batch = scaled(
            history_batch(self.headlines.known(rows), self.max_history), self.rating_scale
        )
        with torch.no_grad():
            encoded = network.encode(tokens, replace(batch, rows=places[batch.rows]))
        slots = tokens[places[torch.from_numpy(self.headlines.items[rows])]]
        return words_loss(network.t5, encoded, prompt, self.words[which], slots)


def headline_objectives(
    parts: tuple[Headlines, Headlines],
    trained: Tensor,
    tokenizer: Tokenizer,
    max_history: int,
    rating_scale: tuple[float, float],
) -> tuple[HeadlineObjective, HeadlineObjective]:
    """What is learned, and what tells how well, of items ``[n]`` bool that were trained."""
    learned, others = (
        HeadlineObjective.of(part.among(trained.numpy()), tokenizer, max_history, rating_scale)
        for part in parts
    )
    return learned, others
