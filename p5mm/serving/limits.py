"""Who may be shown what: items for everybody, and for each user."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from p5mm.data.histories import Histories
from p5mm.errors import InputError
from p5mm.ranking.scorer import Scorer
from p5mm.ranking.trained_model import TrainedModel
from p5mm.serving.requests import Requests, item_lists

Lists = Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class Limits:
    """Which items may be recommended.

    Attributes:
        allow: The only ids that anybody may get; None for all.
        deny: Ids that nobody may get.
        allow_each: The only ids that some users may get.
        deny_each: Ids that some users may not get.
    """

    allow: Sequence[str] | None = None
    deny: Sequence[str] = ()
    allow_each: Lists = field(default_factory=dict)
    deny_each: Lists = field(default_factory=dict)

    def rows(self, model: TrainedModel, strict: bool) -> NDArray[np.int64] | None:
        """Catalog rows ``[m]``, ascending, that anybody may get; None for all.

        Raises:
            InputError: An item is unknown and ``strict``, or nothing is left.
        """
        if self.allow is None and not self.deny:
            return None
        free = np.full(len(model.catalog), self.allow is None)
        for ids, wanted in ((self.allow or (), True), (self.deny, False)):
            free[item_lists(model, [ids], strict).items] = wanted
        if not free.any():
            raise InputError("nothing may be recommended: allow and deny leave no item")
        return np.flatnonzero(free)

    def never(self, model: TrainedModel, users: Sequence[str], strict: bool) -> Histories | None:
        """Catalog rows that each user may not get, beside what all may not; None for none."""
        if not self.deny_each:
            return None
        return item_lists(model, [self.deny_each.get(user, ()) for user in users], strict)

    def only(
        self, model: TrainedModel, users: Sequence[str], strict: bool
    ) -> tuple[NDArray[np.bool_], Histories]:
        """Which users ``[b]`` may get certain catalog rows alone, and the rows of these users."""
        limited = np.array([user in self.allow_each for user in users], dtype=np.bool_)
        lists = [self.allow_each[user] for user in users if user in self.allow_each]
        return limited, item_lists(model, lists, strict)


@dataclass(frozen=True)
class Server:
    """Ranks what may be recommended.

    Attributes:
        model: Trained.
        scorer: Of the items that anybody may get.
        rows: ``[m]`` their catalog rows; None for all.
        limits: Of each user.
    """

    model: TrainedModel
    scorer: Scorer
    rows: NDArray[np.int64] | None
    limits: Limits

    def best(
        self, asked: Requests, k: int, filter_seen: bool, strict: bool
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Rows ``[b, k]`` and scores of the best items of each; -1 beyond the last."""
        seen = asked.histories if filter_seen else None
        denied = self.limits.never(self.model, asked.names, strict)
        never = seen if denied is None else denied if seen is None else seen.beside(denied)
        limited, only = self.limits.only(self.model, asked.names, strict)
        if not limited.any():
            return self.scorer.rank(asked.histories, k, never)
        if self.rows is not None:
            free = np.zeros(len(self.model.catalog), dtype=np.bool_)
            free[self.rows] = True
            only = only.without(~free)
        rows = np.full((len(asked), k), -1, dtype=np.int64)
        scores = np.full((len(asked), k), -np.inf, dtype=np.float32)
        for users, lists in ((np.flatnonzero(~limited), None), (np.flatnonzero(limited), only)):
            histories = asked.histories.select(users)
            denied = None if never is None else never.select(users)
            found, values = self.scorer.rank(histories, k, denied, lists)
            rows[users, : found.shape[1]], scores[users, : found.shape[1]] = found, values
        return rows, scores
