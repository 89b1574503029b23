"""Tables from outside: Parquet, CSV, TSV and JSONL, checked at the edge."""

import csv
import difflib
import gzip
import json
import zlib
from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet

from p5mm.errors import InputError

FORMS = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".csv": "csv",
    ".tsv": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
}
_ALLOWED = "Parquet, CSV, TSV and JSONL are (text forms also as .gz)"
_VERBATIM = ("item_id", "user_id", "image")  # never read as numbers: "007" stays "007"
_BLOCK = 1 << 24


def read_table(path: str | Path) -> pa.Table:
    """A table of a Parquet, CSV, TSV or JSONL file, told by suffix, else by content.

    A pipe is read once. Ids stay as written. A CSV or TSV column is numeric where every value
    is; an empty cell is null. TSV has no quoting: a quote is a character like any other.

    Raises:
        InputError: There is no such file, it is empty, in another form or encoding, or a row
            of it cannot be read.
    """
    path = Path(path)
    form = FORMS.get(Path(path.stem if path.suffix == ".gz" else path.name).suffix.lower())
    data = read_bytes(path)
    form = form or _sniff(data, path)
    if form == "parquet":
        table = _parquet(data, path)
    else:
        check_text(data, path)
        if form == "jsonl":
            table = _jsonl(data, path)
        else:
            table = read_delimited(data, path, "," if form == "csv" else "\t")
    return _plain(table, path)


def require_columns(table: pa.Table, what: str, needed: Sequence[str]) -> None:
    """Check that a table has columns.

    Raises:
        InputError: A column is missing; the message names the nearest of those there are.
    """
    for name in needed:
        if name not in table.column_names:
            near = difflib.get_close_matches(name, table.column_names, n=1, cutoff=0.4)
            which = f"'{near[0]}'" if near else "the right one"
            raise InputError(
                f"{what} has no column '{name}'; it has {', '.join(table.column_names) or 'none'}. "
                f"Rename {which} to '{name}'"
            )


def id_column(table: pa.Table, what: str, name: str) -> pa.ChunkedArray:
    """A column of ids as strings.

    Raises:
        InputError: Ids are missing, empty, or of a type that has no one way to be written.
    """
    require_columns(table, what, [name])
    column = table[name]
    usable = pa.types.is_string(column.type) or pa.types.is_integer(column.type)
    if not usable and not _all_null(column):
        raise InputError(
            f"{what}: column '{name}' is of type {column.type}; ids are strings or integers. "
            "Write it as a string column"
        )
    column = column.cast(pa.string())
    bad = pc.fill_null(pc.equal(column, ""), True).to_numpy()
    if bad.any():
        raise InputError(f"{what}: '{name}' is empty in {rows(np.flatnonzero(bad))}; give an id")
    return column


def rows(indices: Sequence[int] | np.ndarray) -> str:
    """Row numbers for a message, counted from 1 without the header: "rows 3, 7"."""
    shown = ", ".join(str(int(i) + 1) for i in indices[:5])
    more = f", ... ({len(indices)} in all)" if len(indices) > 5 else ""
    return f"row{'s' if len(indices) > 1 else ''} {shown}{more}"


def read_bytes(path: Path) -> pa.Buffer | bytes:
    """What is in a file or pipe, unzipped; a plain Parquet file is mapped, not read.

    Raises:
        InputError: It cannot be read, or is empty.
    """
    if path.is_dir():
        raise InputError(f"{path} is a folder; give a file: {_ALLOWED} allowed")
    try:
        if path.is_file() and FORMS.get(path.suffix.lower()) == "parquet" and path.stat().st_size:
            return pa.memory_map(str(path)).read_buffer()
        data = path.read_bytes()
        data = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
    except FileNotFoundError:
        raise InputError(f"there is no file {path}; check the path") from None
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"cannot read {path}: {error}") from error
    if not data[:64].strip() and not data.strip():
        raise InputError(f"{path} is empty; give a table with a header and rows")
    return data


def check_text(data: bytes, path: Path) -> None:
    """Check that bytes are UTF-8.

    Raises:
        InputError: They are not; the message names the line and how to convert.
    """
    if data[:2] in (BOM_UTF16_BE, BOM_UTF16_LE):
        line, encoding = 1, "UTF-16"
    else:
        try:
            data.decode()
        except UnicodeDecodeError as error:
            line, encoding = data[: error.start].count(b"\n") + 1, "LATIN1"
        else:
            return
    raise InputError(
        f"{path} is not UTF-8 (line {line}); convert it, for example: "
        f"iconv -f {encoding} -t UTF-8 {path} > utf8{path.suffix}"
    )


def read_delimited(
    data: bytes, path: Path, delimiter: str, names: Sequence[str] | None = None
) -> pa.Table:
    """Rows of delimited UTF-8 text; ``names`` where there is no header. Only "," has quoting.

    Raises:
        InputError: A row has more or fewer cells than the header.
    """
    data = data.removeprefix(BOM_UTF8)
    quoted = delimiter == ","
    head = data.split(b"\n", 1)[0].decode().rstrip("\r")
    columns = names or next(csv.reader([head])) if quoted else names or head.split(delimiter)
    wrong: list[pyarrow.csv.InvalidRow] = []

    def keep(row: pyarrow.csv.InvalidRow) -> str:
        wrong.append(row)
        return "skip"

    def read(threads: bool) -> pa.Table:
        wrong.clear()
        return pyarrow.csv.read_csv(
            pa.BufferReader(data),
            pyarrow.csv.ReadOptions(use_threads=threads, block_size=_BLOCK, column_names=names),
            pyarrow.csv.ParseOptions(
                delimiter=delimiter,
                quote_char='"' if quoted else False,
                newlines_in_values=quoted,
                invalid_row_handler=keep,
            ),
            pyarrow.csv.ConvertOptions(
                column_types={name: pa.string() for name in columns},
                strings_can_be_null=True,
                null_values=[""],
            ),
        )

    try:
        table = read(threads=True)
        if wrong:
            read(threads=False)  # only this way rows have numbers
    except pa.ArrowInvalid as error:
        raise InputError(f"cannot read {path} as {_name(delimiter)}: {error}") from error
    if wrong:
        raise _ragged(wrong[0], path, delimiter)
    return pa.table(
        [_number(c, name) for name, c in zip(table.column_names, table.columns, strict=True)],
        names=table.column_names,
    )


def _name(delimiter: str) -> str:
    return "CSV" if delimiter == "," else "TSV"


def _ragged(row: "pyarrow.csv.InvalidRow", path: Path, delimiter: str) -> InputError:
    remedy = (
        'put values with commas in double quotes: "a, b"'
        if delimiter == ","
        else "take tabs and line ends out of the values"
    )
    return InputError(
        f"{path}: row {row.number} (the header is row 1) has {row.actual_columns} cells, "
        f"{row.expected_columns} are expected: {row.text[:60]!r}; {remedy}"
    )


def _number(column: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
    """The column as int64 or float64 where every value of it is a number."""
    if name in _VERBATIM or column.null_count == len(column):
        return column
    for kind in (pa.int64(), pa.float64()):
        try:
            return column.cast(kind)
        except pa.ArrowInvalid:
            continue
    return column


def _parquet(data: pa.Buffer | bytes, path: Path) -> pa.Table:
    try:
        return pyarrow.parquet.read_table(pa.BufferReader(data))
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path} is not a whole Parquet file: {error}; write it again") from error


def _jsonl(data: bytes, path: Path) -> pa.Table:
    data = data.removeprefix(BOM_UTF8)
    if data.lstrip()[:1] == b"[":
        raise InputError(f"{path} is one JSON array; write an object a line: jq -c '.[]' {path}")
    options = pyarrow.json.ReadOptions(block_size=_BLOCK)
    # Ids are named as strings first: otherwise "2024-01-01" is read as a time.
    ids = pa.schema([(name, pa.string()) for name in _VERBATIM])
    failure: Exception | None = None
    for schema in (ids, None):
        try:
            table = pyarrow.json.read_json(
                pa.BufferReader(data), options, pyarrow.json.ParseOptions(explicit_schema=schema)
            )
        except pa.ArrowInvalid as error:
            failure = error
        else:
            absent = [n for n in _VERBATIM if n in table.column_names and _all_null(table[n])]
            return table.drop_columns(absent)
    raise _bad_line(data, path) or InputError(f"cannot read {path} as JSONL: {failure}")


def _all_null(column: pa.ChunkedArray) -> bool:
    return bool(column.null_count == len(column))


def _bad_line(data: bytes, path: Path) -> InputError | None:
    for number, line in enumerate(data.splitlines(), 1):
        try:
            value = json.loads(line or "{}")
        except ValueError as error:
            return InputError(f"{path}: line {number} is not JSON: {error}")
        if not isinstance(value, dict):
            return InputError(f'{path}: line {number} is no object; write {{"item_id": ...}}')
    return None


def _sniff(data: pa.Buffer | bytes, path: Path) -> str:
    head = bytes(data[:4096])
    if head[:4] == b"PAR1":
        return "parquet"
    if b"\0" in head and head[:2] not in (BOM_UTF16_BE, BOM_UTF16_LE):
        raise InputError(f"{path} is in no form that is read; {_ALLOWED}")
    if head.removeprefix(BOM_UTF8).lstrip()[:1] in (b"{", b"["):
        return "jsonl"
    return "tsv" if b"\t" in head.split(b"\n", 1)[0] else "csv"


def _plain(table: pa.Table, path: Path) -> pa.Table:
    """The table with unique names, and plain strings in place of dictionaries and variants."""
    twice = {name for name in table.column_names if table.column_names.count(name) > 1}
    if twice:
        raise InputError(f"{path} has the column '{min(twice)}' twice; rename one")
    for place, field in enumerate(table.schema):
        kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
        if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
            kind = pa.string()
        if kind != field.type:
            table = table.set_column(place, field.name, table[field.name].cast(kind))
    return table
