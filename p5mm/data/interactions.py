"""The log: who took what, when."""

import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from p5mm.data.columns import id_column, number_column, text_column, with_known_names
from p5mm.data.histories import Histories
from p5mm.data.tables import arrow_table, read_table
from p5mm.data.timestamps import read_times
from p5mm.errors import InputError, counted

_TEXTS = ("review", "headline", "explanation", "feature")
_NAMES = ("user_id", "item_id", "timestamp", "rating", *_TEXTS)
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Dropped:
    """What of a log does not enter histories.

    Attributes:
        unknown: Interactions with items that are not in the catalog.
        unknown_items: How many such items there are.
        repeats: Later interactions of a user with an item taken before; the first counts.
        users: Users that are left without any item.
    """

    unknown: int
    unknown_items: int
    repeats: int
    users: int

    def __bool__(self) -> bool:
        return bool(self.unknown or self.repeats or self.users)

    def __str__(self) -> str:
        return (
            f"left out: {counted(self.unknown, 'interaction')} with "
            f"{counted(self.unknown_items, 'item')} not in the catalog, "
            f"{counted(self.repeats, 'repeat')} of an item by a user (the first counts), "
            f"{counted(self.users, 'user')} without any item left"
        )


@dataclass(frozen=True)
class Interactions:
    """Interactions by user (in order of first appearance) and time; ties keep their order.

    Attributes:
        table: ``user_id``, ``item_id`` (strings), ``timestamp`` (int64 or float64; dates are
            seconds since 1970), and of ``rating`` (float32), ``review``, ``headline``,
            ``explanation``, ``feature`` (strings) those that were given.
    """

    table: pa.Table

    @classmethod
    def read(cls, path: str | Path) -> "Interactions":
        """The log of a Parquet, CSV, TSV or JSONL file; see `from_table`.

        Raises:
            InputError: The file or a value in it cannot be used.
        """
        return cls.from_table(read_table(path), what=f"interactions {path}")

    @classmethod
    def from_rows(cls, rows: Iterable[Sequence[object]]) -> "Interactions":
        """The log of rows ``(user_id, item_id[, timestamp[, rating]])``, all of one length.

        Example:
            >>> Interactions.from_rows([("ann", "tea", 2), ("ann", "cup", 1)]).item_ids
            ['cup', 'tea']
        """
        names = ("user_id", "item_id", "timestamp", "rating")
        columns = list(zip(*rows, strict=True))
        if not 2 <= len(columns) <= len(names):
            raise InputError(f"rows have {len(columns)} values; give {', '.join(names)}")
        return cls.from_table(pa.table([list(c) for c in columns], names=names[: len(columns)]))

    @classmethod
    def from_table(cls, table: Any, what: str = "interactions") -> "Interactions":
        """The log of a table in memory.

        Args:
            table: An Arrow table or a data frame (see `p5mm.data.tables.arrow_table`) with
                ``user_id``, ``item_id``, and any of ``timestamp`` (a number, an ISO date or
                time, UTC where it names no zone, or an Arrow timestamp; without the column the
                order of the rows is the order in time), ``rating``, ``review``, ``headline``,
                ``explanation``, ``feature``; known other names of them are taken
                (`p5mm.data.columns.ALIASES`). Other columns are not kept.
            what: Name of the table in messages.

        Raises:
            InputError: A column is missing, the log is empty, or a value cannot be used.
        """
        table = with_known_names(arrow_table(table, what), what, _NAMES)
        users, items = (id_column(table, what, name) for name in ("user_id", "item_id"))
        if not len(users):
            raise InputError(f"{what} is empty; give at least one row")
        columns = {"user_id": users, "item_id": items}
        if "timestamp" in table.column_names:
            columns["timestamp"] = read_times(table["timestamp"], what)
        else:
            columns["timestamp"] = pa.array(np.arange(len(users)))
        if "rating" in table.column_names:
            columns["rating"] = number_column(table, what, "rating")
        for name in _TEXTS:
            if name in table.column_names:
                columns[name] = text_column(table, what, name)
        return cls(_sorted(pa.table(columns)))

    @classmethod
    def empty(cls) -> "Interactions":
        """The log of a shop on its first day."""
        kinds = {"user_id": pa.string(), "item_id": pa.string(), "timestamp": pa.int64()}
        return cls(pa.table({name: pa.array([], kind) for name, kind in kinds.items()}))

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def joined(self, later: "Interactions") -> "Interactions":
        """Both logs as one; what is of one time stands in this order."""
        tables = [self.table, later.table]
        return Interactions(_sorted(pa.concat_tables(tables, promote_options="permissive")))

    def beyond(self, known: "Interactions") -> "Interactions":
        """What a user did not take before, there or here: the first time counts."""
        both = pa.concat_tables(
            [log.table.select(_NAMES[:3]) for log in (known, self)], promote_options="permissive"
        )
        users, items = (_codes(_encode(both[name])) for name in _NAMES[:2])
        order = np.lexsort((both["timestamp"].to_numpy(), items, users))
        first = np.ones(len(order), np.bool_)
        first[order[1:]] = (np.diff(users[order]) != 0) | (np.diff(items[order]) != 0)
        return self._where(first[len(known) :])

    @cached_property
    def _users(self) -> pa.DictionaryArray:
        return _encode(self.table["user_id"])

    @cached_property
    def _items(self) -> pa.DictionaryArray:
        return _encode(self.table["item_id"])

    @property
    def user_ids(self) -> list[str]:
        """The users, in the order of their rows."""
        users: list[str] = self._users.dictionary.to_pylist()
        return users

    @property
    def item_ids(self) -> list[str]:
        """The items, in order of first appearance."""
        items: list[str] = self._items.dictionary.to_pylist()
        return items

    def core(self, k: int) -> "Interactions":
        """The k-core: every user and every item has at least k interactions.

        Raises:
            InputError: Nothing is left.
        """
        if k <= 1:
            return self
        users, items = _codes(self._users), _codes(self._items)
        if not len(self):
            return self
        keep = np.ones(len(self), np.bool_)
        while True:
            enough = _often(users, keep, k) & _often(items, keep, k) & keep
            if np.array_equal(enough, keep):
                break
            keep = enough
        if not keep.any():
            raise InputError(f"no interaction is in the {k}-core; give a smaller k_core")
        return self._where(keep)

    def shuffled_ties(self, seed: int) -> "Interactions":
        """The same log where what a user took at one time is in random order.

        Files that are sorted by item within a time would otherwise decide what comes next.

        Raises:
            InputError: No user took two items at one time, or the seed is negative.
        """
        if seed < 0:
            raise InputError(f"shuffle_ties is {seed}; give a seed, 0 or more")
        users, times = _codes(self._users), self.table["timestamp"].to_numpy()
        if not _repeated(users, times).any():
            raise InputError(
                "there are no ties to shuffle: no user of the log has two interactions at one "
                "time (in a sequence file, and in a log without times, the place is the time); "
                "leave out data.shuffle_ties"
            )
        random = np.random.default_rng(seed).random(len(self))
        return Interactions(self.table.take(pa.array(np.lexsort((random, times, users)))))

    def tied_ends(self, item_ids: Sequence[str]) -> float | None:
        """Share of the users with three items or more who took the last two at one time.

        For them it is the order of the file that says which of the two is held out. None where no
        user took two items at one time: the times may be mere places in a sequence.
        """
        users, times = _codes(self._users), self.table["timestamp"].to_numpy()
        if not _repeated(users, times).any():
            return None
        keep = self._entering(item_ids)[0]
        lengths = np.bincount(users[keep])
        last = (np.cumsum(lengths) - 1)[lengths >= 3]
        tied = _repeated(users[keep], times[keep])[last]
        return float(tied.mean()) if len(tied) else 0.0

    def known(self, item_ids: Sequence[str]) -> "Interactions":
        """The interactions with these items.

        Raises:
            InputError: There is none, though the log is not empty.
        """
        if not len(self):
            return self
        keep = self._rows_of(item_ids) >= 0
        if not keep.any():
            ours, theirs = ([i[:80] for i in ids[:3]] for ids in (self.item_ids, item_ids))
            raise InputError(
                f"no item of the log is in the catalog: the log has {ours}, the "
                f"catalog has {theirs}; the ids of both must be written alike"
            )
        return self._where(keep)

    def among(self, item_ids: Sequence[str]) -> int:
        """How many are with these items."""
        return int((self._rows_of(item_ids) >= 0).sum())

    def dropped(self, item_ids: Sequence[str]) -> Dropped:
        """What `histories` leaves out."""
        return self._entering(item_ids)[2]

    def histories(self, item_ids: Sequence[str]) -> tuple[list[str], Histories]:
        """Every user's items in order of time.

        Items that are not among ``item_ids`` are left out, as are repeats: the first time that
        a user takes an item counts. What is left out is logged as a warning.

        Returns:
            The users, and their `Histories` with ratings in rows of ``item_ids``.
        """
        keep, items, dropped = self._entering(item_ids)
        if dropped:
            _log.warning("%s", dropped)
        users, lengths = np.unique(_codes(self._users)[keep], return_counts=True)
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        ratings = None
        if "rating" in self.table.column_names:
            given = self.table["rating"].to_numpy()
            ratings = given[keep].astype(np.float32)
        names: list[str] = self._users.dictionary.take(pa.array(users)).to_pylist()
        return names, Histories(items[keep], offsets, ratings)

    def times(self, item_ids: Sequence[str]) -> NDArray[np.float64]:
        """``[n]`` when each item of `histories` was taken."""
        times: NDArray[np.float64] = self.table["timestamp"].to_numpy().astype(np.float64)
        return times[self._entering(item_ids)[0]]

    def headlines(self, item_ids: Sequence[str]) -> list[str | None]:
        """The headline of the review of each item of `histories`; None where there is none."""
        keep = self._entering(item_ids)[0]
        if "headline" not in self.table.column_names:
            return [None] * int(keep.sum())
        given = self.table["headline"].filter(pa.array(keep)).to_pylist()
        return [text if text and text.strip() else None for text in given]

    @property
    def has_clock(self) -> bool:
        """Whether times of different users compare: they are no mere places in a file or line."""
        times = np.sort(self.table["timestamp"].to_numpy())
        return not self._in_line and not np.array_equal(times, np.arange(len(self)))

    def behind(self, known: "Interactions") -> "Interactions":
        """The same order with times behind a log without times, which so remains without."""
        times = self.table["timestamp"].to_numpy()
        if known._in_line:
            taken = Counter(known.table["user_id"].to_pylist())
            before = [taken[user] for user in self.table["user_id"].to_pylist()]
            placed = np.array(before, np.int64) + self._places_in_line
        else:
            placed = np.empty(len(self), np.int64)
            placed[np.argsort(times, kind="stable")] = len(known) + np.arange(len(self))
        place = self.table.column_names.index("timestamp")
        return Interactions(self.table.set_column(place, "timestamp", pa.array(placed)))

    @property
    def _in_line(self) -> bool:
        """Whether each time is the place among its user's."""
        return np.array_equal(self.table["timestamp"].to_numpy(), self._places_in_line)

    @property
    def _places_in_line(self) -> NDArray[np.int64]:
        users = _codes(self._users)
        starts = np.flatnonzero(np.diff(users, prepend=-1))
        return np.arange(len(self)) - starts[users]

    def _where(self, keep: NDArray[np.bool_]) -> "Interactions":
        return self if keep.all() else Interactions(self.table.filter(pa.array(keep)))

    def _rows_of(self, item_ids: Sequence[str]) -> NDArray[np.int64]:
        """The row of each interaction's item among some ids, -1 where it is not there."""
        places = pc.index_in(self._items.dictionary, pa.array(item_ids, pa.string()))
        by_code = pc.fill_null(places, -1).to_numpy().astype(np.int64)
        rows_of: NDArray[np.int64] = by_code[_codes(self._items)]
        return rows_of

    def _entering(
        self, item_ids: Sequence[str]
    ) -> tuple[NDArray[np.bool_], NDArray[np.int64], Dropped]:
        items = self._rows_of(item_ids)
        users = _codes(self._users)
        known = items >= 0
        pairs = users[known] * len(item_ids) + items[known]
        first = np.zeros(len(pairs), np.bool_)
        first[np.unique(pairs, return_index=True)[1]] = True
        keep = known.copy()
        keep[known] = first
        missing = np.unique(_codes(self._items)[~known])
        left = len(np.unique(users[keep]))
        dropped = Dropped(
            unknown=int((~known).sum()),
            unknown_items=len(missing),
            repeats=int((~first).sum()),
            users=len(self._users.dictionary) - left,
        )
        return keep, items, dropped


def _encode(column: pa.ChunkedArray) -> pa.DictionaryArray:
    encoded = pc.dictionary_encode(column).combine_chunks()
    return encoded.chunk(0) if isinstance(encoded, pa.ChunkedArray) else encoded


def _codes(encoded: pa.DictionaryArray) -> NDArray[np.int64]:
    codes: NDArray[np.int64] = encoded.indices.to_numpy().astype(np.int64)
    return codes


def _repeated(users: NDArray[np.int64], times: NDArray[np.generic]) -> NDArray[np.bool_]:
    """True where a row has the user and the time of the row before."""
    repeated = np.zeros(len(users), np.bool_)
    repeated[1:] = (users[1:] == users[:-1]) & (times[1:] == times[:-1])
    return repeated


def _often(codes: NDArray[np.int64], keep: NDArray[np.bool_], k: int) -> NDArray[np.bool_]:
    """True where a code occurs at least k times among the rows kept."""
    often: NDArray[np.bool_] = (np.bincount(codes[keep], minlength=codes.max() + 1) >= k)[codes]
    return often


def _sorted(table: pa.Table) -> pa.Table:
    users = _codes(_encode(table["user_id"]))
    times = table["timestamp"].to_numpy()
    order = np.lexsort((times, users))
    if np.array_equal(order, np.arange(len(order))):
        return table
    return table.take(pa.array(order))
