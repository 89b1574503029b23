"""Tables from outside: files and data frames as plain Arrow tables, checked at the edge."""

import re
from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet

from p5mm.data.columns import id_column, require_columns, rows, with_known_names
from p5mm.data.raw_file import ALLOWED, FORMS, check_text, read_bytes
from p5mm.data.text_tables import arrow_memory, check_width, read_delimited, read_jsonl
from p5mm.errors import InputError, shown

__all__ = [
    "arrow_table",
    "id_column",
    "read_table",
    "require_columns",
    "rows",
    "shown",
    "with_known_names",
]

_UNNAMED_INDEX = re.compile(r"__index_level_\d+__")  # how Arrow calls an index of pandas


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
        data = bytes(data)
        check_text(data, path)
        if form == "jsonl":
            table = read_jsonl(data, path)
        else:
            table = read_delimited(data, path, "," if form == "csv" else "\t")
    return arrow_table(table, str(path))


def arrow_table(given: Any, what: str = "the table") -> pa.Table:
    """A plain Arrow table of whatever holds columns.

    Column names are unique; dictionaries, large strings and string views are plain strings, in
    lists too. What pandas calls missing is null; its index is a column where it has a name.

    Args:
        given: An Arrow table or batch, a pandas or polars frame, a dictionary of columns, or
            anything that has ``__arrow_c_stream__`` or ``to_arrow``.
        what: Name of the table in messages.

    Raises:
        InputError: It is no table, or a column is damaged or in a form that cannot be read.

    Example:
        >>> arrow_table({"item_id": ["tea", None]})["item_id"].to_pylist()
        ['tea', None]
    """
    table = given if isinstance(given, pa.Table) else _converted(given, what)
    check_width(table.num_columns, what)
    try:
        table = table.drop_columns([n for n in table.column_names if _UNNAMED_INDEX.fullmatch(n)])
        names = table.column_names
    except UnicodeDecodeError as error:
        raise InputError(f"{what}: the name of a column is not UTF-8; rename it") from error
    twice = {name for name, times in Counter(names).items() if times > 1}
    if twice:
        raise InputError(f"{what} has the column '{shown(min(twice))}' twice; rename one")
    columns = [_plain(c, name, what) for c, name in zip(table.columns, names, strict=True)]
    if [column.type for column in columns] == table.schema.types:
        return table
    return pa.table(columns, names=names, metadata=table.schema.metadata)


def _converted(given: Any, what: str) -> pa.Table:
    try:
        if hasattr(given, "to_arrow") and not hasattr(given, "__arrow_c_stream__"):
            given = given.to_arrow()
        if isinstance(given, pa.RecordBatch):
            given = pa.Table.from_batches([given])
        table = pa.table(given)
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise InputError(
            f"{what} cannot be read from {type(given).__name__} ({shown(str(error))[:200]}); give "
            "an Arrow table or a pandas or polars frame, each column of one type; a file is read "
            "by p5mm.data.tables.read_table(path)"
        ) from error
    return table.replace_schema_metadata()


def _plain(column: pa.ChunkedArray, name: str, what: str) -> pa.ChunkedArray:
    """The column itself, or of a plain type, checked to be whole and UTF-8."""
    try:
        column.validate(full=True)
        kind = _plain_type(column.type)
        return column if kind == column.type else _cast(column, kind)
    except pa.ArrowException as error:
        wrong = "holds bytes that are not UTF-8" if "UTF8" in str(error) else "cannot be read"
        raise InputError(
            f"{what}: the column '{shown(name)}' ({column.type}) {wrong}: "
            f"{shown(str(error))[:200]}; write it again as plain values"
        ) from error


def _cast(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    # Arrow 26 casts views of lists to wrong lists, and not at all from dictionaries of views.
    if not (pa.types.is_list_view(column.type) or pa.types.is_large_list_view(column.type)):
        try:
            return column.cast(kind)
        except pa.ArrowNotImplementedError:
            pass
    return pa.chunked_array([pa.array(column.to_pylist(), kind)])


def _plain_type(kind: pa.DataType) -> pa.DataType:
    """The type without dictionaries, extensions, runs, views and large strings."""
    if pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind):
        return _plain_type(kind.value_type)
    if isinstance(kind, pa.BaseExtensionType):
        return _plain_type(kind.storage_type)
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return pa.string()
    if pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind):
        return pa.binary()
    if pa.types.is_list_view(kind) or pa.types.is_large_list_view(kind):
        return pa.list_(_plain_type(kind.value_type))
    lists = pa.types.is_list(kind) or pa.types.is_large_list(kind)
    if lists and _plain_type(kind.value_type) != kind.value_type:
        return pa.list_(_plain_type(kind.value_type))
    return kind


def _parquet(data: pa.Buffer | bytes, path: Path) -> pa.Table:
    with whole_parquet(path):
        file = pyarrow.parquet.ParquetFile(pa.BufferReader(arrow_memory(data)))
        check_width(len(file.schema_arrow), path)
        return file.read()


@contextmanager
def whole_parquet(path: Path) -> Iterator[None]:
    """Turns what reading a damaged Parquet file raises into a message that names it.

    Raises:
        InputError: It is damaged.
    """
    try:
        yield
    except InputError:
        raise
    except (pa.ArrowException, OSError, ValueError) as error:
        raise InputError(
            f"{path} is not a whole Parquet file: {shown(str(error))[:300]}; write it again"
        ) from error


def _sniff(data: pa.Buffer | bytes, path: Path) -> str:
    head = bytes(data[:4096])
    if head[:4] == b"PAR1":
        return "parquet"
    if b"\0" in head and head[:2] not in (BOM_UTF16_BE, BOM_UTF16_LE):
        raise InputError(f"{path} is in no form that is read; {ALLOWED}")
    if head.removeprefix(BOM_UTF8).lstrip()[:1] in (b"{", b"["):
        return "jsonl"
    return "tsv" if b"\t" in head.split(b"\n", 1)[0] else "csv"
