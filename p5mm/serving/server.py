"""Ranks for many users at once: like lengths together, and only what may be recommended."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from p5mm.data.histories import Histories
from p5mm.progress import Progress
from p5mm.ranking.scorer import Scorer
from p5mm.ranking.trained_model import TrainedModel
from p5mm.serving.limits import Limits
from p5mm.serving.requests import Requests

BATCH = 64  # users that are ranked at once: what is made of them stays in the cache
WINDOW = 256 * BATCH  # users that are sorted by length, so that little is padded
ANSWERS = 4_000_000  # items in the answers of a window


def windows(users: int, k: int) -> Iterator[NDArray[np.int64]]:
    """Users in order, as many at once as have ``ANSWERS`` items in their answers of ``k``."""
    size = min(WINDOW, max(BATCH, ANSWERS // k))
    for start in range(0, users, size):
        yield np.arange(start, min(start + size, users))


@dataclass(frozen=True)
class Server:
    """Ranks what may be recommended.

    Attributes:
        model: Trained.
        scorer: Of the items that anybody may get.
        free: ``[n]`` bool, True at these items.
        limits: Of each user.
        strict: Whether an unknown item in a limit is an error; else it is left out and told.
    """

    model: TrainedModel
    scorer: Scorer
    free: NDArray[np.bool_]
    limits: Limits
    strict: bool

    @classmethod
    def of(cls, model: TrainedModel, limits: Limits, strict: bool) -> "Server":
        """A server of a model.

        Raises:
            InputError: Nothing may be recommended, or an item is unknown and ``strict``.
        """
        rows, free = limits.rows(model, strict), np.ones(len(model.catalog), dtype=np.bool_)
        if rows is None:
            return cls(model, model.scorer, free, limits, strict)
        free = np.isin(np.arange(len(free)), rows)
        return cls(model, model.scorer.within(rows), free, limits, strict)

    def best(
        self, asked: Requests, k: int, filter_seen: bool, shown: Progress
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The best items of each user, whoever else asks.

        Args:
            asked: ``b`` requests.
            k: Items that each wants.
            filter_seen: Leave out what the history holds.
            shown: Counts the users.

        Returns:
            Rows ``[b, k]``, -1 where no more may be recommended, and scores.
        """
        never, only = self._limited(asked, filter_seen)
        rows = np.full((len(asked), k), -1, dtype=np.int64)
        scores = np.full((len(asked), k), -np.inf, dtype=np.float32)
        lengths = np.minimum(asked.histories.lengths, self.scorer.asking.max_history)
        own = np.array([name in self.limits.allow_each for name in asked.names], dtype=np.bool_)
        for limited in (False, True):
            alike = np.flatnonzero(own == limited)
            alike = alike[np.argsort(lengths[alike], kind="stable")]
            for start in range(0, len(alike), BATCH):
                users = alike[start : start + BATCH]
                found, values = self.scorer.rank(
                    asked.histories.select(users),
                    k,
                    None if never is None else never.select(users),
                    only.select(users) if limited else None,
                )
                rows[users, : found.shape[1]], scores[users, : found.shape[1]] = found, values
                shown.update(len(users))
        return rows, scores

    def _limited(self, asked: Requests, filter_seen: bool) -> tuple[Histories | None, Histories]:
        """Rows that each may not get, None for none; and all that those may who have a list."""
        never = asked.histories if filter_seen else None
        denied = self.limits.never(self.model, asked.names, self.strict)
        if denied is not None:
            never = denied if never is None else never.beside(denied)
        return never, self.limits.only(self.model, asked.names, self.strict).without(~self.free)
