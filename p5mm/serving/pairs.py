"""Pairs of a user and an item to be scored, grouped so that each history is read once."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from p5mm.data.histories import Histories
from p5mm.data.tables import require_columns
from p5mm.errors import InputError

TOKENS = 65_536  # candidates of a batch, padding included
PIECE = 4_096  # candidates of one history in a batch
USERS = 256


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
        asker: ``[p]`` int64, which history each pair belongs to.
        items: ``[p]`` int64 item rows.
    """

    histories: Histories
    asker: NDArray[np.int64]
    items: NDArray[np.int64]

    @classmethod
    def of(
        cls,
        table: pa.Table,
        item_rows: Callable[[Sequence[str]], NDArray[np.int64]],
        histories_of: Callable[[Sequence[str]], Histories],
    ) -> "Pairs":
        """Read a table with ``item_id`` and either ``history`` or ``user_id``.

        Raises:
            InputError: A column is missing or empty, or a user or item is unknown.
        """
        require_columns(table, "pairs", ["item_id"])
        if "history" not in table.column_names:
            require_columns(table, "pairs", ["user_id", "item_id"])
        items = item_rows(_strings(table, "item_id"))
        if "history" in table.column_names:
            lists = [tuple(map(str, one or ())) for one in table["history"].to_pylist()]
            distinct = {one: row for row, one in enumerate(dict.fromkeys(lists))}
            known = Histories.from_lists([item_rows(one).tolist() for one in distinct])
            return cls(known, np.array([distinct[one] for one in lists], dtype=np.int64), items)
        users = _strings(table, "user_id")
        names, asker = np.unique(np.array(users, dtype=object), return_inverse=True)
        return cls(histories_of(names.tolist()), asker.astype(np.int64), items)

    def batches(self) -> Iterator[PairBatch]:
        """Every pair once; batches hold histories with similar numbers of candidates."""
        order = np.argsort(self.asker, kind="stable")
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


def _strings(table: pa.Table, name: str) -> list[str]:
    column = table[name].cast(pa.string())
    if column.null_count:
        row = column.is_null().index(True).as_py() + 1
        raise InputError(f"pairs: row {row} has no {name}")
    values: list[str] = column.to_pylist()
    return values
