"""What a base learns of reviews: their headlines and their stars."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from p5mm.model.network import words_loss
from p5mm.model.tokenizer import PAD, tokens_of
from p5mm.pretraining.reading import BATCH, HEADLINE, READ, STARS, Reading, read_words
from p5mm.pretraining.review_table import ReviewTable
from p5mm.ranking.writing import WRITTEN

TOGETHER = 32  # reviews of a step


@dataclass(frozen=True)
class Reviews:
    """Reviews in tokens, what is asked of them, and the loss of the answers.

    Attributes:
        reading: How they are asked about.
        words: ``[n, READ]`` int64.
        headlines: ``[n, WRITTEN]`` int64, closed; all padding where there is none.
        stars: ``[n]`` int64 the level of the rating, -1 where unknown.
        weights: Family to how often it is drawn.
    """

    reading: Reading
    words: Tensor
    headlines: Tensor
    stars: Tensor
    weights: Mapping[str, float]

    @classmethod
    def of(cls, table: ReviewTable, reading: Reading, weights: Mapping[str, float]) -> "Reviews":
        """The reviews of a table in tokens."""
        levels = np.array(reading.levels, np.float32)
        stars = np.full(len(table), -1)
        rated = ~np.isnan(table.ratings)
        if len(levels):
            stars[rated] = np.searchsorted(levels, table.ratings[rated])
        return cls(
            reading,
            tokens_of(reading.tokenizer, table.texts, READ),
            tokens_of(reading.tokenizer, table.headlines, WRITTEN, closed=True),
            torch.from_numpy(stars),
            weights,
        )

    def __len__(self) -> int:
        return len(self.words)

    def step(self) -> Tensor:
        """The loss of some reviews at random, of the families that are drawn for it."""
        scales = drawn(self.weights)
        if not scales:
            return torch.zeros(())
        asked = replace(self, weights=scales)
        losses = asked.losses(torch.randperm(len(self))[:TOGETHER])
        return sum((scales[f] * loss for f, loss in losses.items()), torch.zeros(()))

    @property
    def answered(self) -> dict[str, int]:
        """Family to how many answers there are: words of headlines, stars."""
        return {
            HEADLINE: int((self.headlines != PAD).sum()),
            STARS: int((self.stars >= 0).sum()),
        }

    def part(self, rows: Tensor) -> "Reviews":
        """Some of the reviews, ``[m]``."""
        return replace(
            self, words=self.words[rows], headlines=self.headlines[rows], stars=self.stars[rows]
        )

    def losses(self, rows: Tensor) -> dict[str, Tensor]:
        """Family to the mean loss of its answers in reviews ``[m]``; without those of no answer."""
        encoded, made = read_words(self.reading.t5, self.words[rows]), {}
        words, stars = self.headlines[rows], self.stars[rows]
        if self.weights.get(HEADLINE) and (words != PAD).any():
            asked = self.reading.asked(HEADLINE)
            made[HEADLINE] = words_loss(self.reading.t5, encoded, asked, words)
        if self.weights.get(STARS) and (stars >= 0).any():
            logits = self.reading.star_logits(encoded)
            made[STARS] = F.cross_entropy(logits, stars, ignore_index=-1)
        return made

    @torch.no_grad()
    def held_out(self) -> dict[str, float]:
        """Family to the mean loss of all its answers."""
        parts = [*torch.arange(len(self)).split(BATCH)]  # type: ignore[no-untyped-call]
        sums: dict[str, float] = {}
        for rows in parts:
            answered = self.part(rows).answered
            for family, loss in self.losses(rows).items():
                share = answered[family] / self.answered[family]
                sums[family] = sums.get(family, 0.0) + float(loss) * share
        return sums


def drawn(weights: Mapping[str, float]) -> dict[str, float]:
    """The tasks of a step at random, each to the scale of its loss.

    A task of weight below 1 is drawn in that share of the steps: in the mean that is its loss by
    its weight in every step, at a fraction of the cost. One of more is always there, by its weight.
    """
    chances = torch.rand(len(weights)).tolist()
    return {
        name: max(1.0, weight)
        for (name, weight), chance in zip(sorted(weights.items()), chances, strict=True)
        if chance < weight
    }
