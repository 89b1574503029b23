"""Who asks for recommendations: users of the log, or histories that are given."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from p5mm.data.histories import Histories
from p5mm.data.history_column import read_histories
from p5mm.data.tables import id_column, with_known_names
from p5mm.data.users import Users
from p5mm.errors import InputError, counted, shown, unknown

COLUMNS = ("user_id", "history", "allow", "deny")
Ids = Sequence[str] | None

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Requests:
    """Names, what each of them took, and what each may get.

    Attributes:
        names: Of the users, as they are given back; one may ask twice.
        histories: One each, in catalog rows.
        allow: The only item ids that each may get, None for all; None where nobody has such a list.
        deny: Item ids that each may not get, likewise.
    """

    names: list[str]
    histories: Histories
    allow: Sequence[Ids] | None = None
    deny: Sequence[Ids] | None = None

    def __len__(self) -> int:
        return len(self.names)

    @classmethod
    def of(
        cls,
        model: Users,
        users: Sequence[str] | None,
        histories: Sequence[Sequence[str] | None] | None,
        strict: bool,
        nobody: bool = False,
    ) -> "Requests":
        """Requests of users, of histories, or of both.

        Args:
            model: Knows the users of its log.
            users: Ids; all users of the log where both are None; names for histories.
            histories: Item ids in order of time; None, or a None among them, is the log's.
            strict: Whether an unknown user or item is an error; else it is left out and told.
            nobody: Whether all users may be unknown where it is no error.

        Raises:
            InputError: A user or an item is unknown and ``strict``; all users are unknown and not
                ``nobody``; or the numbers do not agree.
        """
        if histories is None:
            names = model.user_ids if users is None else list(users)
            return cls._of_log(model, names, strict, nobody)
        names = [str(i) for i in range(len(histories))] if users is None else list(users)
        if len(names) != len(histories):
            raise InputError(f"{len(names)} users for {len(histories)} histories; give one each")
        given = np.array([history is not None for history in histories], dtype=np.bool_)
        lists = [history for history in histories if history is not None]
        without = [name for name, g in zip(names, given, strict=True) if not g]
        logged = cls._of_log(model, without, strict, nobody or bool(lists))
        taken = item_lists(model.catalog.rows, lists, strict)
        return cls._in_order(names, given, taken, logged)

    @classmethod
    def of_table(
        cls, model: Users, table: pa.Table, what: str, strict: bool, nobody: bool = False
    ) -> "Requests":
        """Requests of the rows of a table.

        Args:
            model: Knows the users of its log.
            table: ``user_id``; ``history`` (lists of item ids) for new users; ``allow`` and
                ``deny`` (lists of item ids) for what each may get.
            what: Name of the table in messages.
            strict: As for ``of``.
            nobody: As for ``of``.

        Raises:
            InputError: As for ``of``; or a column is not what it should be.
        """
        table = with_known_names(table, what, COLUMNS)
        names: list[str] = id_column(table, what, "user_id").to_pylist()
        histories, allow, deny = (
            read_histories(table[column], what, column) if column in table.column_names else None
            for column in COLUMNS[1:]
        )
        requests = cls.of(model, names, histories, strict, nobody)
        given = histories or [None] * len(names)
        known = [
            row for row, name in enumerate(names)
            if given[row] is not None or name in model.user_rows
        ]  # fmt: skip
        return replace(requests, allow=_some(allow, known), deny=_some(deny, known))

    def select(self, rows: NDArray[np.int64]) -> "Requests":
        """Some of the requests, in the order given."""
        names, places = [self.names[row] for row in rows], rows.tolist()
        lists = _some(self.allow, places), _some(self.deny, places)
        return Requests(names, self.histories.select(rows), *lists)

    @classmethod
    def _of_log(cls, model: Users, names: list[str], strict: bool, nobody: bool) -> "Requests":
        """Requests of users of the log; where all are unknown and not ``nobody``, an error."""
        rows = model.user_rows
        strangers = [name for name in names if name not in rows]
        if strangers:
            message = (
                f"{counted(len(strangers), 'user is', 'users are')} not in the log, such as "
                f"'{shown(strangers[0])}'; for "
                "new users give their histories (a column 'history' with lists of item ids)"
            )
            if strict or (len(strangers) == len(names) and not nobody):
                raise InputError(message)
            log.warning("left out: %s", message)
            names = [name for name in names if name in rows]
        places = np.array([rows[name] for name in names], dtype=np.int64)
        return cls(names, model.histories.select(places))

    @classmethod
    def _in_order(
        cls, names: list[str], given: NDArray[np.bool_], taken: Histories, logged: "Requests"
    ) -> "Requests":
        """Both kinds in the order of the names; users that the log does not know are gone."""
        known = set(logged.names)
        kept = [name for name, g in zip(names, given, strict=True) if g or name in known]
        of_list = np.array([g for n, g in zip(names, given, strict=True) if g or n in known], bool)
        order = np.empty(len(kept), dtype=np.int64)
        order[of_list] = np.arange(len(taken))
        order[~of_list] = len(taken) + np.arange(len(logged))
        return cls(kept, Histories.joined([taken, logged.histories]).select(order))


def _some(lists: Sequence[Ids] | None, rows: Sequence[int]) -> Sequence[Ids] | None:
    """Some of the lists, where there are any."""
    return None if lists is None else [lists[row] for row in rows]


def item_lists(
    rows: Mapping[str, int],
    lists: Sequence[Sequence[str]],
    strict: bool,
    what: tuple[str, str] = ("history", "histories"),
) -> Histories:
    """Histories of lists of item ids.

    Args:
        rows: The row of each item.
        lists: Item ids in order of time.
        strict: Whether an unknown item is an error; else it is left out, counted and told.
        what: What a list is called where that is told, and several.

    Raises:
        InputError: An item is unknown and ``strict``.
    """
    strange = [item for history in lists for item in history if item not in rows]
    if strange and strict:
        raise unknown("item", strange[0], rows)
    if strange:
        touched = sum(any(item not in rows for item in history) for history in lists)
        log.warning(
            "left out of %s: %s not in the catalog, such as '%s'",
            counted(touched, *what),
            counted(len(strange), "item"),
            shown(strange[0]),
        )
    return Histories.from_lists([[rows[i] for i in history if i in rows] for history in lists])


def check_k(k: int) -> None:
    """Check how many items are wanted.

    Raises:
        InputError: None are.
    """
    if k < 1:
        raise InputError(f"k is {k}; give 1 or more")
