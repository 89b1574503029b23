"""Ranks for many users at once: like lengths together, and only what may be recommended."""

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

from p5mm.data.histories import Histories
from p5mm.data.tables import arrow_table
from p5mm.data.users import Users
from p5mm.errors import InputError, counted, shown
from p5mm.progress import Progress, progress
from p5mm.ranking.workers import Workers, one_worker, side_by_side
from p5mm.retrieval.ties import MARGIN, settle
from p5mm.serving.limits import Limits
from p5mm.serving.requests import Requests, check_k

BATCH = 64  # users that are ranked at once: what is made of them stays in the cache
WINDOW = 256 * BATCH  # users that are sorted by length, so that little is padded
ANSWERS = 4_000_000  # items in the answers of a window

Ranked = tuple[NDArray[np.int64], NDArray[np.float32]]

log = logging.getLogger(__name__)


def windows(users: int, k: int) -> Iterator[NDArray[np.int64]]:
    """Users in order, as many at once as have ``ANSWERS`` items in their answers of ``k``."""
    size = min(WINDOW, max(BATCH, ANSWERS // k))
    for start in range(0, users, size):
        yield np.arange(start, min(start + size, users))


class Ranks(Protocol):
    """Ranks items for histories, whatever runs the network."""

    @property
    def max_history(self) -> int:
        """Items of a history that are read."""

    def within(self, rows: NDArray[np.int64]) -> "Ranks":
        """The same when only some catalog rows may be candidates."""

    def rank(
        self, histories: Histories, k: int, never: Histories | None, only: Histories | None
    ) -> Ranked:
        """The best ``k`` items; see `p5mm.ranking.scorer.Scorer.rank`."""


@dataclass(frozen=True)
class Server:
    """Ranks what may be recommended.

    Attributes:
        model: Knows the users and the items.
        scorer: Of the items that anybody may get.
        free: ``[n]`` bool, True at these items.
        limits: Of each user.
        strict: Whether an unknown item in a limit is an error; else it is left out and told.
        workers: Gives those that rank batches side by side.
    """

    model: Users
    scorer: Ranks
    free: NDArray[np.bool_]
    limits: Limits
    strict: bool
    workers: Workers = one_worker

    @classmethod
    def of(
        cls,
        model: Users,
        scorer: Ranks,
        limits: Limits,
        strict: bool,
        workers: Workers = one_worker,
    ) -> "Server":
        """A server of whatever ranks the items of a model.

        Raises:
            InputError: Nothing may be recommended, or an item is unknown and ``strict``.
        """
        rows, free = limits.rows(model, strict), np.ones(len(model.catalog), dtype=np.bool_)
        if rows is None:
            return cls(model, scorer, free, limits, strict, workers)
        free = np.isin(np.arange(len(free)), rows)
        return cls(model, scorer.within(rows), free, limits, strict, workers)

    def answer(self, asked: Requests, k: int, filter_seen: bool, bar: Progress) -> pa.Table:
        """What is recommended, as `Recommends.recommend` gives it.

        Args:
            asked: Who asks.
            k: Items that each wants.
            filter_seen: Leave out what the history holds.
            bar: Counts the users.
        """
        parts, k = [recommendation_table([], [], [], [])], min(k, len(self.model.catalog))
        for users in windows(len(asked), k):
            part = asked.select(users)
            rows, scores = self.best(part, k, filter_seen, bar)
            real = rows >= 0
            _tell_nothing_left(part.names, real)
            ranks = np.broadcast_to(np.arange(1, rows.shape[1] + 1), rows.shape)
            names, ids = np.repeat(part.names, real.sum(1)), self.model.item_names[rows[real]]
            parts.append(recommendation_table(names, ids, scores[real], ranks[real]))
        return pa.concat_tables(parts)

    def best(
        self, asked: Requests, k: int, filter_seen: bool, bar: Progress
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The best items of each user, whoever else asks.

        Args:
            asked: ``b`` requests.
            k: Items that each wants.
            filter_seen: Leave out what the history holds.
            bar: Counts the users.

        Returns:
            Rows ``[b, k]``, -1 where no more may be recommended, and scores.
        """
        never = self._never(asked, filter_seen)
        own, only = self.limits.only(self.model, asked, self.strict)
        only = only.without(~self.free)
        rows = np.full((len(asked), k), -1, dtype=np.int64)
        scores = np.full((len(asked), k), -np.inf, dtype=np.float32)
        lengths = np.minimum(asked.histories.lengths, self.scorer.max_history)
        for limited in (False, True):
            alike = np.flatnonzero(own == limited)
            alike = alike[np.argsort(lengths[alike], kind="stable")]
            batches = [alike[start : start + BATCH] for start in range(0, len(alike), BATCH)]
            rank = partial(
                self._rank, asked.histories, k + MARGIN, never, only if limited else None
            )
            for users, (found, values) in side_by_side(rank, batches, self.workers):
                settle(found, values)
                width = min(k, found.shape[1])
                rows[users, :width], scores[users, :width] = found[:, :width], values[:, :width]
                bar.update(len(users))
        return rows, scores

    def _rank(
        self,
        histories: Histories,
        k: int,
        never: Histories | None,
        only: Histories | None,
        users: NDArray[np.int64],
    ) -> Ranked:
        never, only = (None if each is None else each.select(users) for each in (never, only))
        return self.scorer.rank(histories.select(users), k, never, only)

    def _never(self, asked: Requests, filter_seen: bool) -> Histories | None:
        """Rows that each may not get; None for none."""
        never = asked.histories if filter_seen else None
        denied = self.limits.never(self.model, asked, self.strict)
        if denied is None or never is None:
            return never if denied is None else denied
        return never.beside(denied)


def _tell_nothing_left(names: Sequence[str], real: NDArray[np.bool_]) -> None:
    """Count who gets nothing; ``real`` is ``[b, k]``, True where there is an item."""
    empty = np.flatnonzero(~real.any(axis=1))
    if len(empty):
        log.warning(
            "%s no item, such as '%s': nothing is left that they may get",
            counted(len(empty), "user gets", "users get"),
            shown(names[empty[0]]),
        )


class Recommends(ABC):
    """Recommends the items of a model, whatever runs its network.

    Attributes:
        model: Knows the users and the items.
        runtime: What runs the network: torch or onnx.
        workers: Gives those that rank batches side by side.
    """

    model: Users
    runtime: str
    workers: Workers = staticmethod(one_worker)

    @property
    @abstractmethod
    def scorer(self) -> Ranks:
        """Ranks the items of the model."""

    def recommend(
        self,
        users: Any = None,
        *,
        histories: Sequence[Sequence[str] | None] | None = None,
        k: int = 10,
        filter_seen: bool = True,
        limits: Limits | None = None,
        strict: bool = True,
    ) -> pa.Table:
        """The best ``k`` items for each user.

        Args:
            users: Ids of the log's users; all of them where both arguments are None. With
                histories, any names for them. Or a table (Arrow, pandas, polars) with ``user_id``,
                and ``history``, ``allow`` and ``deny`` (lists of item ids) where there are any.
            histories: Item ids in order of time, for users who need not be in the log; a None
                among them means the log's.
            k: Items a user; fewer only where no more may be recommended.
            filter_seen: Leave out what the history holds.
            limits: Which items may be recommended, to everybody and to each; all where None.
            strict: Whether an unknown user or item is an error; else it is left out, counted and
                logged, and all others are served.

        Returns:
            ``user_id``, ``item_id`` (strings), ``score`` (float32), ``rank`` (int32, from 1).

        Raises:
            InputError: A user or an item is unknown and ``strict``, k is not positive, nothing may
                be recommended, or a table's columns are not those of users.
        """
        check_k(k)
        asked = self._asked(users, histories, strict)
        server = self.server(limits or Limits(), strict)
        with progress("recommend", len(asked), "user") as bar:
            return server.answer(asked, k, filter_seen, bar)

    def server(self, limits: Limits, strict: bool) -> Server:
        """Serves what may be recommended; see `Server.of`."""
        return Server.of(self.model, self.scorer, limits, strict, self.workers)

    def _asked(
        self, users: Any, histories: Sequence[Sequence[str] | None] | None, strict: bool
    ) -> Requests:
        if not (isinstance(users, Mapping) or hasattr(users, "columns")):
            return Requests.of(self.model, users, histories, strict)
        if histories is not None:
            raise InputError("users are a table, and there are histories beside it; give these as "
                             "its column 'history'")  # fmt: skip
        return Requests.of_table(self.model, arrow_table(users, "users"), "users", strict)


def recommendation_table(
    users: ArrayLike, items: ArrayLike, scores: ArrayLike, ranks: ArrayLike
) -> pa.Table:
    """Columns ``user_id``, ``item_id``, ``score``, ``rank`` of four equally long arrays."""
    return pa.table(
        {
            "user_id": pa.array(users, pa.string()),
            "item_id": pa.array(items, pa.string()),
            "score": pa.array(scores, pa.float32()),
            "rank": pa.array(ranks, pa.int32()),
        }
    )
