"""Histories as users write them: a column with a list of item ids a row."""

import json

import pyarrow as pa
import pyarrow.compute as pc

from p5mm.data.columns import rows
from p5mm.errors import InputError

FORMS = 'a list of item ids, or the same as JSON text: ["1", "2"]'


def read_histories(
    column: pa.ChunkedArray, what: str, name: str = "history"
) -> list[list[str] | None]:
    """The item ids of each row, in order of time.

    Args:
        column: Lists of strings or of integers, or texts that are such lists in JSON.
        what: Name of the table in messages.
        name: Of the column; lists of items that may be shown, or may not, are read alike.

    Returns:
        A list of ids a row: empty for an empty list, None where no history is given.

    Raises:
        InputError: A row is something else; the message names it.

    Example:
        >>> read_histories(pa.chunked_array([["[1, 2]", None, "[]"]]), "users")
        [['1', '2'], None, []]
    """
    kind = column.type
    if pa.types.is_null(kind):
        return [None] * len(column)
    if pa.types.is_string(kind):
        return [_parsed(text, row, what, name) for row, text in enumerate(column.to_pylist())]
    if not (_is_list(kind) and _holds_ids(kind.value_type)):
        raise InputError(f"{what}: '{name}' is of type {kind}; give {FORMS}")
    if pc.list_flatten(column).null_count:
        bad = [row for row, ids in enumerate(column.to_pylist()) if ids and None in ids]
        raise InputError(
            f"{what}: an item id is missing in the {name} of {rows(bad)}; leave it out of the list"
        )
    histories: list[list[str] | None] = column.cast(pa.list_(pa.string())).to_pylist()
    return histories


def _parsed(text: str | None, row: int, what: str, name: str) -> list[str] | None:
    """The ids of a JSON list."""
    if text is None:
        return None
    try:
        ids = json.loads(text)
    except (ValueError, RecursionError):
        ids = None
    if isinstance(ids, list) and all(type(item) in (str, int) for item in ids):
        return [str(item) for item in ids]
    raise InputError(
        f"{what}: the {name} {text[:60]!r} in {rows([row])} is no list of item ids; give {FORMS}"
    )


def _is_list(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    )


def _holds_ids(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_integer(kind) or pa.types.is_null(kind))
