"""Columns of a table: known by other names, ids, numbers, rows, and values made fit to show."""

import difflib
import logging
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from p5mm.errors import InputError, shown

# What others call a column; case, spaces and punctuation do not count ("Movie ID" is "movieid").
ALIASES = {
    "item_id": (
        "itemid", "item", "iid", "movieid", "asin", "parentasin", "productid", "bookid", "trackid",
        "songid", "artistid", "gameid", "recipeid", "newsid", "articleid", "businessid", "gmapid",
    ),
    "user_id": (
        "userid", "user", "uid", "reviewerid", "customerid", "memberid", "visitorid", "shopperid",
    ),
    "timestamp": (
        "timestamp", "unixreviewtime", "unixtime", "time", "date", "datetime", "ts", "eventtime",
        "createdat",
    ),
    "rating": ("rating", "overall", "stars"),
    "review": ("review", "reviewtext", "reviewbody"),
    "headline": ("headline", "summary", "reviewsummary", "reviewtitle"),
    "history": ("history", "histories"),
}  # fmt: skip
IDS = ("item_id", "user_id")
_NEAR = {"item_id": ("id", "sku", "code"), "user_id": ("id",)}  # may mean it: named, never taken
_NAMED, _LONG = 20, 80  # columns that a message names, and letters of each
_log = logging.getLogger(__name__)


def rows(indices: Sequence[int] | np.ndarray) -> str:
    """Row numbers for a message, counted from 1 without the header: "rows 3, 7".

    Example:
        >>> rows([2, 6])
        'rows 3, 7'
    """
    first = ", ".join(str(int(i) + 1) for i in indices[:5])
    more = f", ... ({len(indices)} in all)" if len(indices) > 5 else ""
    return f"row{'s' if len(indices) > 1 else ''} {first}{more}"


def aliases_of(name: str, column_names: Sequence[str]) -> list[str]:
    """The columns that are known as another name of a column; none where it is there itself.

    Example:
        >>> aliases_of("item_id", ["movieId", "title"])
        ['movieId']
    """
    if name in column_names:
        return []
    return [column for column in column_names if _letters(column) in ALIASES.get(name, ())]


def with_known_names(table: pa.Table, what: str, names: Sequence[str]) -> pa.Table:
    """The table with columns of other known names under ours, which is logged.

    Only where a column is missing and exactly one alias of it is there.

    Args:
        table: Any table.
        what: Name of the table in the log.
        names: Our names that are looked for, keys of `ALIASES`.
    """
    for name in names:
        others = aliases_of(name, table.column_names)
        if len(others) == 1 and not _rivals(name, table.column_names):
            _log.info("%s: the column '%s' is taken as '%s'", what, shown(others[0]), name)
            renamed = [name if c == others[0] else c for c in table.column_names]
            table = table.rename_columns(renamed)
        elif others and name not in IDS:
            choices = " or ".join(f"'{shown(other)}'" for other in others)
            _log.warning("%s: there is no '%s'; %s is not taken for it", what, name, choices)
    return table


def require_columns(table: pa.Table, what: str, needed: Sequence[str]) -> None:
    """Check that a table has columns.

    Raises:
        InputError: A column is missing; the message names those that may be meant.
    """
    for name in needed:
        if name not in table.column_names:
            there = [shown(column[:_LONG]) for column in table.column_names[:_NAMED]]
            more = len(table.column_names) - len(there)
            there += [f"... ({more} more)"] if more else []
            raise InputError(
                f"{what} has no column '{name}'; it has {', '.join(there) or 'none'}. "
                f"Rename {_meant(name, table.column_names)} to '{name}'"
            )


def id_column(
    table: pa.Table, what: str, name: str, among: NDArray[np.int64] | None = None
) -> pa.ChunkedArray:
    """A column of ids as strings.

    Args:
        table: Any table.
        what: Name of the table in messages.
        name: The column.
        among: The rows whose ids are wanted; all where None.

    Raises:
        InputError: Ids are missing, empty, or of a type that has no one way to be written.
    """
    require_columns(table, what, [name])
    column = table[name]
    usable = pa.types.is_string(column.type) or pa.types.is_integer(column.type)
    if not usable and column.null_count < len(column):
        raise InputError(
            f"{what}: column '{name}' is of type {column.type}; ids are strings or integers. "
            "Write it as a string column"
        )
    missing = pa.chunked_array([pa.nulls(len(column), pa.string())])
    column = column.cast(pa.string()) if usable else missing
    column = column if among is None else column.take(pa.array(among))
    bad = np.flatnonzero(pc.fill_null(pc.equal(column, ""), True).to_numpy())
    if len(bad):
        places = bad if among is None else among[bad]
        verb = "has" if len(places) == 1 else "have"
        raise InputError(f"{what}: {rows(places)} {verb} no {name}; give an id")
    return column


def text_column(table: pa.Table, what: str, name: str) -> pa.ChunkedArray:
    """A column of texts; numbers, dates and the like as they are written.

    Raises:
        InputError: It holds lists, objects or bytes.
    """
    kind = table.schema.field(name).type
    if pa.types.is_nested(kind) or pa.types.is_binary(kind):
        raise InputError(f"{what}: '{name}' is of type {kind}; write it as a string column")
    try:
        return table[name].cast(pa.string())
    except pa.ArrowException as error:
        raise InputError(
            f"{what}: '{name}' is of type {kind} and cannot be written as text ({error}); write "
            "it as a string column"
        ) from error


def number_column(table: pa.Table, what: str, name: str) -> pa.ChunkedArray:
    """A column of numbers, or of texts that are numbers, as float32.

    Raises:
        InputError: A value is no number; the message names the row.
    """
    column = table[name]
    if pa.types.is_string(column.type):
        for row, value in enumerate(column.to_pylist()):
            if value is not None and not is_number(value):
                raise InputError(f"{what}: the {name} {value[:80]!r} in {rows([row])} is no number")
    try:
        return column.cast(pa.float32(), safe=False)
    except pa.ArrowException as error:
        raise InputError(f"{what}: '{name}' is {column.type}; give numbers") from error


def is_number(text: str) -> bool:
    """Whether a text is a number."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def _letters(name: str) -> str:
    return "".join(letter for letter in name.casefold() if letter.isalnum())


def _rivals(name: str, column_names: Sequence[str]) -> list[str]:
    """Columns that may mean a name as well as its one alias does: "id" beside "item"."""
    return [c for c in column_names if _letters(c) in _NEAR.get(name, ())]


def _meant(name: str, column_names: Sequence[str]) -> str:
    """The columns that may be meant by a missing one, for a message."""
    known = [*aliases_of(name, column_names), *_rivals(name, column_names)]
    near = known or difflib.get_close_matches(name, column_names, n=1, cutoff=0.6)
    return " or ".join(f"'{shown(column[:_LONG])}'" for column in near[:5]) or "the right one"
