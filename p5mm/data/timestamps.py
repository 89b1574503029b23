"""Times in whatever form a log has them."""

from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from p5mm.data.columns import is_number, rows
from p5mm.errors import InputError


def read_times(column: pa.ChunkedArray, what: str) -> pa.ChunkedArray:
    """A column of times as int64 or float64, none missing.

    Args:
        column: Numbers, ISO dates or times (UTC where they name no zone), or Arrow times; what is
            no number becomes seconds since 1970.
        what: Name of the table in messages.

    Raises:
        InputError: A time is missing or cannot be read; the message names the row.
    """
    if pa.types.is_string(column.type):
        column = _parsed(column, what)
    elif pa.types.is_temporal(column.type):
        column = _seconds(column, what)
    elif not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
        raise InputError(f"{what}: 'timestamp' is {column.type}; give numbers or ISO dates")
    kind = pa.int64() if pa.types.is_integer(column.type) else pa.float64()
    try:
        column = column.cast(kind)
    except pa.ArrowInvalid as error:
        raise InputError(f"{what}: a 'timestamp' is beyond 64 bits ({error})") from error
    bad = np.isnan(column.to_numpy().astype(np.float64))
    if bad.any():
        raise InputError(
            f"{what}: 'timestamp' is empty or not a number in {rows(np.flatnonzero(bad))}; give "
            "a time, or leave out the column if the order of the rows is the order in time"
        )
    return column


def _seconds(column: pa.ChunkedArray, what: str) -> pa.ChunkedArray:
    try:
        micro = column.cast(pa.timestamp("us"), safe=False).cast(pa.int64())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise InputError(f"{what}: 'timestamp' is {column.type}; give dates and times") from error
    return pc.divide(micro.cast(pa.float64(), safe=False), 1e6)


def _parsed(column: pa.ChunkedArray, what: str) -> pa.ChunkedArray:
    for kind in (pa.float64(), pa.timestamp("us"), pa.timestamp("us", "UTC")):
        try:
            parsed = column.cast(kind)
        except pa.ArrowInvalid:
            continue
        return parsed if kind == pa.float64() else _seconds(parsed, what)
    return pa.chunked_array([[_time(v, row, what) for row, v in enumerate(column.to_pylist())]])


def _time(value: str | None, row: int, what: str) -> float | None:
    if value is None or is_number(value):
        return None if value is None else float(value)
    try:
        time = datetime.fromisoformat(value)
    except ValueError:
        raise InputError(
            f"{what}: the timestamp {value[:80]!r} in {rows([row])} is neither a number nor an ISO "
            "date or time such as 2024-05-31T12:00:00"
        ) from None
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()
