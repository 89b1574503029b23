"""Tables in text: CSV, TSV and JSONL, from bytes that are UTF-8."""

import json
from codecs import BOM_UTF8
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.json

from p5mm.data.columns import IDS, aliases_of, rows
from p5mm.errors import InputError, shown

COLUMNS = 10_000  # a table may have
DEPTH = 100  # lists and objects within each other in JSON; Arrow's reader dies of 20,000
_VERBATIM = (*IDS, "image")  # never read as numbers: "007" stays "007"
_BLOCK = 1 << 24
_OTHERS = bytes(set(range(256)) - set(b'[]{}"\n\r'))
_ENDS = bytes.maketrans(b"\r", b"\n")


def read_delimited(
    data: bytes, path: Path, delimiter: str, names: Sequence[str] | None = None
) -> pa.Table:
    """Rows of delimited UTF-8 text; ``names`` where there is no header. Only "," has quoting.

    Raises:
        InputError: A row has more or fewer cells than the header, or is longer than 16 MiB.
    """
    quoted = delimiter == ","
    form = {
        "delimiter": delimiter, "quote_char": '"' if quoted else False,
        "newlines_in_values": quoted,
    }  # fmt: skip
    source = arrow_memory(data.removeprefix(BOM_UTF8))
    parsing = pyarrow.csv.ParseOptions(**form)
    try:
        columns = names or _header(source, parsing)
        check_width(len(columns), path)
        if len(columns) == 1 and ";" in columns[0]:
            raise InputError(f"{path} has ';' between its columns; write it with commas or tabs")
        table = _delimited(source, parsing, columns, names)
    except pa.ArrowInvalid as error:
        wrong = _wrong_row(source, form, names)
        if wrong is not None:
            raise _ragged(wrong, path, delimiter, header=names is None) from error
        raise _unreadable(path, "CSV" if quoted else "TSV", error) from error
    ids = {alias for name in IDS for alias in aliases_of(name, columns)}
    numbers = [_number(c, name, ids) for name, c in zip(columns, table.columns, strict=True)]
    return pa.table(numbers, names=table.column_names)


def read_jsonl(data: bytes, path: Path) -> pa.Table:
    """Objects, one a line; ids and histories of strings are never read as times.

    Raises:
        InputError: A line is no object, or lists and objects are more than 100 deep.
    """
    data = data.removeprefix(BOM_UTF8)
    if data.lstrip()[:1] == b"[":
        raise InputError(f"{path} is one JSON array; write an object a line: jq -c '.[]' {path}")
    _check_depth(data, path)
    strings = [(name, pa.string()) for name in _VERBATIM]
    lists = [("history", pa.list_(pa.string()))]
    table = _objects(data, path, (pa.schema(strings + lists), pa.schema(strings), None))
    times = [
        (alias, pa.string())
        for name in IDS
        for alias in aliases_of(name, table.column_names)
        if pa.types.is_temporal(table.schema.field(alias).type)
    ]
    if times:
        table = _objects(data, path, (pa.schema(strings + times),))
    check_width(table.num_columns, path)
    return table


def check_width(columns: int, what: str | Path) -> None:
    """Check how many columns a table has.

    Raises:
        InputError: It has more than 10,000.
    """
    if columns > COLUMNS:
        raise InputError(
            f"{what} has {columns:,} columns; at most {COLUMNS:,} are read. Put vectors into one "
            "column of lists, and leave out what is not needed"
        )


def arrow_memory(data: bytes | pa.Buffer) -> pa.Buffer:
    """The same bytes in memory of Arrow's own.

    Threads of Arrow may outlive a read for a moment. One that lets go of memory of Python's when
    the process is about to end aborts it; so does one that lets go of a function.
    """
    if isinstance(data, pa.Buffer):  # of a mapped file
        return data
    sink = pa.BufferOutputStream()
    sink.write(data)
    return sink.getvalue()


def _header(source: pa.Buffer, parsing: pyarrow.csv.ParseOptions) -> list[str]:
    """The names in the first row, by the parser that reads the others."""
    reading = pyarrow.csv.ReadOptions(use_threads=False, block_size=_BLOCK)
    with pyarrow.csv.open_csv(pa.BufferReader(source), reading, parsing) as reader:
        names: list[str] = reader.schema.names
    return names


def _delimited(
    source: pa.Buffer,
    parsing: pyarrow.csv.ParseOptions,
    columns: Sequence[str],
    names: Sequence[str] | None,
) -> pa.Table:
    return pyarrow.csv.read_csv(
        pa.BufferReader(source),
        pyarrow.csv.ReadOptions(block_size=_BLOCK, column_names=names),
        parsing,
        pyarrow.csv.ConvertOptions(
            column_types={name: pa.string() for name in columns},
            strings_can_be_null=True,
            null_values=[""],
        ),
    )


def _wrong_row(
    source: pa.Buffer, form: Mapping[str, Any], names: Sequence[str] | None
) -> pyarrow.csv.InvalidRow | None:
    """The first row with more or fewer cells than the header; None where there is none."""
    wrong: list[pyarrow.csv.InvalidRow] = []

    def keep(row: pyarrow.csv.InvalidRow) -> str:
        wrong.append(row)
        return "skip"

    # Without threads rows have numbers, and none lets go of the function.
    reading = pyarrow.csv.ReadOptions(use_threads=False, block_size=_BLOCK, column_names=names)
    with suppress(pa.ArrowInvalid):
        parsing = pyarrow.csv.ParseOptions(**form, invalid_row_handler=keep)
        pyarrow.csv.read_csv(pa.BufferReader(source), reading, parsing)
    return wrong[0] if wrong else None


def _unreadable(path: Path, form: str, error: Exception) -> InputError:
    if "straddling" in str(error):
        return InputError(
            f"{path}: a row is longer than {_BLOCK >> 20} MiB; shorten it"
            + (", or close a quote that stays open" if form == "CSV" else "")
        )
    return InputError(f"cannot read {path} as {form}: {shown(str(error))[:300]}")


def _ragged(row: "pyarrow.csv.InvalidRow", path: Path, delimiter: str, header: bool) -> InputError:
    remedy = (
        'put values with commas in double quotes: "a, b"'
        if delimiter == ","
        else "take tabs and line ends out of the values"
    )
    return InputError(
        f"{path}: {rows([row.number - 1 - header])} has {row.actual_columns} cells, "
        f"{row.expected_columns} are expected: {row.text[:60]!r}; {remedy}"
    )


def _number(column: pa.ChunkedArray, name: str, ids: set[str]) -> pa.ChunkedArray:
    """The column as int64 or float64 where every value of it is a number.

    What may become ids is only read so where nothing gets lost: "007" stays.
    """
    if name in _VERBATIM or column.null_count == len(column):
        return column
    for kind in (pa.int64(),) if name in ids else (pa.int64(), pa.float64()):
        try:
            numbers = column.cast(kind)
        except pa.ArrowInvalid:
            continue
        return numbers if name not in ids or numbers.cast(pa.string()).equals(column) else column
    return column


def _check_depth(data: bytes, path: Path) -> None:
    """Refuse what is nested too deep for the reader."""
    deepest = depth = start = 0
    while start < len(data):
        end = data.find(b"\n", start + _BLOCK) + 1 or len(data)
        depth, highest = _depths(data[start:end], depth)
        deepest, start = max(deepest, highest), end
    if deepest > DEPTH:
        raise InputError(
            f"{path} has lists and objects {deepest:,} deep; at most {DEPTH} are read. Write "
            'plain values: {"item_id": "a", "title": "..."}'
        )


def _depths(lines: bytes, depth: int) -> tuple[int, int]:
    """How deep JSON is at the end of some lines and at its deepest, from ``depth`` at their start.

    A line end closes a string, and closing brackets too many count for nothing, so that broken
    JSON hides no depth.
    """
    unescaped = lines.replace(b"\\\\", b"").replace(b'\\"', b"")
    marks = np.frombuffer(unescaped.translate(_ENDS, _OTHERS), np.uint8)
    quotes = (marks == ord('"')).cumsum(dtype=np.int32)
    before = np.maximum.accumulate(np.where(marks == ord("\n"), quotes, 0))
    brackets = marks[(((quotes - before) & 1) == 0) & (marks > ord('"'))]
    if not len(brackets):
        return depth, depth
    opening = (brackets == ord("[")) | (brackets == ord("{"))
    steps = depth + np.where(opening, 1, -1).cumsum()
    depths = steps - np.minimum(np.minimum.accumulate(steps), 0)
    return int(depths[-1]), int(depths.max())


def _objects(data: bytes, path: Path, schemas: Sequence[pa.Schema | None]) -> pa.Table:
    """The table by the first of some schemas that fits, without named columns that are absent."""
    failure: Exception | None = None
    options, source = pyarrow.json.ReadOptions(block_size=_BLOCK), arrow_memory(data)
    for schema in schemas:
        try:
            table = pyarrow.json.read_json(
                pa.BufferReader(source), options, pyarrow.json.ParseOptions(explicit_schema=schema)
            )
        except pa.ArrowException as error:
            failure = error
        else:
            named = list(schema.names) if schema else []
            empty = [n for n in named if table[n].null_count == len(table)]
            return table.drop_columns(empty)
    raise _bad_line(data, path) or _unreadable(path, "JSONL", failure or ValueError("no schema"))


def _bad_line(data: bytes, path: Path) -> InputError | None:
    for number, line in enumerate(data.splitlines(), 1):
        try:
            value = json.loads(line or "{}")
        except ValueError as error:
            return InputError(f"{path}: line {number} is not JSON: {error}")
        if not isinstance(value, dict):
            return InputError(f'{path}: line {number} is no object; write {{"item_id": ...}}')
    return None
