"""Pairs of a user and an item to be scored, grouped so that each history is read once."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from p5mm.data.histories import Histories
from p5mm.data.history_column import FORMS, read_histories
from p5mm.data.tables import id_column, rows
from p5mm.data.users import Users
from p5mm.errors import InputError, counted, shown, unknown
from p5mm.serving.requests import Requests, item_lists

COLUMNS = ("item_id", "user_id", "history")
TOKENS = 65_536  # candidates of a batch, padding included
PIECE = 4_096  # candidates of one history in a batch
USERS = 256

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PairBatch:
    """Some histories with their candidates.

    Attributes:
        histories: ``b`` histories.
        candidates: ``[b, n]`` int64 item rows, padded with 0.
        places: ``[b, n]`` int64 rows of the pairs; -1 at padding.
    """

    histories: Histories
    candidates: NDArray[np.int64]
    places: NDArray[np.int64]


@dataclass(frozen=True)
class Pairs:
    """What is to be scored.

    Attributes:
        histories: Each distinct history once.
        asker: ``[p]`` int64, which history each pair belongs to; -1 where its user is unknown.
        items: ``[p]`` int64 item rows; -1 where the item is unknown.
    """

    histories: Histories
    asker: NDArray[np.int64]
    items: NDArray[np.int64]

    @classmethod
    def of(
        cls,
        table: pa.Table,
        model: Users,
        strict: bool,
        nobody: bool = False,
        what: str = "pairs",
    ) -> "Pairs":
        """Read a table with ``item_id``, and ``history`` or ``user_id`` in each row.

        A row's history counts, an empty one too; a row without one (null) has that of its user in
        the log.

        Args:
            table: Plain columns.
            model: Knows the items and the users.
            strict: Whether an unknown user or item is an error; else it is counted and logged.
            nobody: Whether all users, or all items, may be unknown where it is no error.
            what: Name of the table in messages.

        Raises:
            InputError: A column is missing or empty; or a user or item is unknown and ``strict``.
        """
        ids = id_column(table, what, "item_id").to_pylist()
        items = _item_rows(ids, model, strict, nobody)
        askers = _askers(table, what)
        users = list(dict.fromkeys(asker for asker in askers if isinstance(asker, str)))
        lists = list(dict.fromkeys(asker for asker in askers if isinstance(asker, tuple)))
        taken = item_lists(model.catalog.rows, lists, strict)
        logged = Requests.of(model, users, None, strict, nobody) if users else None
        parts = [taken] if logged is None else [taken, logged.histories]
        names = [*lists, *([] if logged is None else logged.names)]
        row_of = {asker: row for row, asker in enumerate(names)}
        asker = np.array([row_of.get(asker, -1) for asker in askers], dtype=np.int64)
        return cls(Histories.joined(parts), asker, items)

    def batches(self) -> Iterator[PairBatch]:
        """Every pair that can be scored, once; batches hold histories with like many candidates."""
        order = np.argsort(self.asker, kind="stable")
        order = order[(self.asker[order] >= 0) & (self.items[order] >= 0)]
        if not len(order):
            return
        starts = np.flatnonzero(np.diff(self.asker[order], prepend=-1))
        groups = np.split(order, starts[1:])
        pieces = [g[i : i + PIECE] for g in groups for i in range(0, len(g), PIECE)]
        pieces.sort(key=len)
        while pieces:
            take, width = 0, 0
            while take < min(len(pieces), USERS) and (take + 1) * len(pieces[take]) <= TOKENS:
                take += 1
                width = len(pieces[take - 1])
            yield self._batch(pieces[:take], width)
            pieces = pieces[take:]

    def _batch(self, pieces: Sequence[NDArray[np.int64]], width: int) -> PairBatch:
        places = np.full((len(pieces), width), -1, dtype=np.int64)
        for row, piece in enumerate(pieces):
            places[row, : len(piece)] = piece
        askers = self.asker[places[:, 0]]
        candidates = np.where(places >= 0, self.items[np.maximum(places, 0)], 0)
        return PairBatch(self.histories.select(askers), candidates, places)


def _item_rows(
    items: Sequence[str], model: Users, strict: bool, nothing: bool
) -> NDArray[np.int64]:
    """Catalog rows of items, -1 where one is unknown."""
    rows = model.offered
    strange = [item for item in items if item not in rows]
    if strange and (strict or (len(strange) == len(items) and not nothing)):
        raise unknown("item", strange[0], rows)
    if strange:
        log.warning(
            "not scored: %s with an item that is not in the catalog, such as '%s'",
            counted(len(strange), "pair"),
            shown(strange[0]),
        )
    return np.array([rows.get(item, -1) for item in items], dtype=np.int64)


def _askers(table: pa.Table, what: str) -> list[str | tuple[str, ...]]:
    """Of each row its history, or where it has none its user.

    Raises:
        InputError: A row has neither.
    """
    if "history" not in table.column_names:
        users: list[str | tuple[str, ...]] = id_column(table, what, "user_id").to_pylist()
        return users
    histories = read_histories(table["history"], what)
    without = np.array([row for row, ids in enumerate(histories) if ids is None], dtype=np.int64)
    if len(without) and "user_id" not in table.column_names:
        raise InputError(
            f"{what}: there is no 'history' in {rows(without)}, and no column 'user_id'; give "
            f"{FORMS} (an empty list where nothing is known), or a user of the log"
        )
    names = _names(table, what, without) if len(without) else {}
    return [names[row] if ids is None else tuple(ids) for row, ids in enumerate(histories)]


def _names(table: pa.Table, what: str, without: NDArray[np.int64]) -> dict[int, str]:
    """The users of the rows without a history.

    Raises:
        InputError: One is missing.
    """
    users = id_column(table, what, "user_id", without).to_pylist()
    return dict(zip(without.tolist(), users, strict=True))
