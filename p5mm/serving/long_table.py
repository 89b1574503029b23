"""A table of any length, in one file or in many, that is read window by window."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from p5mm.data.raw_file import FORMS
from p5mm.data.tables import arrow_table, read_table, whole_parquet
from p5mm.errors import InputError, shown

READ = 8_192  # rows that a file is read in


@dataclass(frozen=True)
class LongTable:
    """Rows in order: of Parquet files, which are never held whole, or of a table at hand.

    Attributes:
        name: Of the table in messages.
        files: Parquet files of the same columns, in order.
        table: Of the same columns and types, without rows; or held, where there are no files.
        rows: In all.
    """

    name: str
    files: tuple[Path, ...]
    table: pa.Table
    rows: int

    @classmethod
    def open(cls, path: str | Path) -> "LongTable":
        """A Parquet file, a folder of them (in order of their paths), or a table of another form.

        Raises:
            InputError: There is none, one is damaged, or a column is of another type in one file
                than in the first.
        """
        path = Path(path)
        if path.is_dir():
            files = sorted(of for of in path.rglob("*") if _is_parquet(of) and _shown(of, path))
            if not files:
                raise InputError(
                    f"{path} is a folder without Parquet files; give it some, or a file"
                )
        elif _is_parquet(path) and path.is_file() and path.stat().st_size:
            files = [path]
        else:
            return cls.of(read_table(path), str(path))
        empty, total = _columns(files[0]), 0
        for file in files:
            empty = _common(empty, _columns(file), file)
            with whole_parquet(file):
                total += pq.ParquetFile(file).metadata.num_rows
        return cls(str(path), tuple(files), empty, total)

    @classmethod
    def of(cls, table: pa.Table, name: str) -> "LongTable":
        """A table that is held."""
        return cls(name, (), table, table.num_rows)

    @property
    def digest(self) -> str:
        """Of all bytes and of how they are cut into files."""
        digest = hashlib.blake2b(digest_size=16)
        for file in self.files:
            digest.update(f"{file.name} {file.stat().st_size};".encode())
            with file.open("rb") as opened:
                digest.update(hashlib.file_digest(opened, "blake2b").digest())
        if not self.files:
            for column in self.table.itercolumns():
                digest.update(repr(column.to_pylist()).encode())
            digest.update(repr(self.table.column_names).encode())
        return digest.hexdigest()

    def windows(self, size: int, first: int = 0) -> Iterator[pa.Table]:
        """The rows from ``first`` on, ``size`` at a time; the last window may have fewer.

        A table without rows is one window.

        Where a window ends depends on the number of the row alone, not on files or row groups.

        Raises:
            InputError: A file is damaged.
        """
        held, count = [], 0
        for piece in self._pieces(first):
            while piece.num_rows:
                taken = piece.slice(0, size - count)
                held.append(taken)
                count, piece = count + taken.num_rows, piece.slice(taken.num_rows)
                if count == size:
                    yield pa.concat_tables(held).combine_chunks()
                    held, count = [], 0
        if held or not self.rows:
            yield pa.concat_tables(held).combine_chunks() if held else self.table

    def _pieces(self, first: int) -> Iterator[pa.Table]:
        if not self.files:
            yield self.table.slice(first)
            return
        for file in self.files:
            with whole_parquet(file):
                about = pq.ParquetFile(file).metadata
            groups = [*range(about.num_row_groups)]
            while groups and first >= (size := about.row_group(groups[0]).num_rows):
                first -= size
                groups.pop(0)
            for piece in self._read(file, groups) if groups else ():
                yield piece.slice(min(first, piece.num_rows))
                first = max(0, first - piece.num_rows)

    def _read(self, file: Path, groups: list[int]) -> Iterator[pa.Table]:
        """The rows of some row groups; a column of nulls has the type of the other files."""
        schema = self.table.schema
        with whole_parquet(file):
            for batch in pq.ParquetFile(file).iter_batches(READ, row_groups=groups):
                yield arrow_table(batch, str(file)).select(schema.names).cast(schema)


def _columns(file: Path) -> pa.Table:
    """The columns of a file, in a table without rows."""
    with whole_parquet(file):
        schema = pq.ParquetFile(file).schema_arrow
    return arrow_table(schema.empty_table(), str(file)).replace_schema_metadata()


def _common(known: pa.Table, more: pa.Table, file: Path) -> pa.Table:
    """The columns of the files before and of one more; nulls alone are of any type.

    Raises:
        InputError: They are other columns, or one is of another type.
    """
    if set(more.column_names) != set(known.column_names):
        other = sorted(set(more.column_names) ^ set(known.column_names))
        raise InputError(
            f"{file} has other columns than the files before it ('{shown(other[0])}' is in one of "
            "them alone); write all with the same columns"
        )
    kinds = {}
    for field in known.schema:
        own, expected = more.schema.field(field.name).type, field.type
        if not _agree(own, expected):
            raise InputError(
                f"{file}: the column '{shown(field.name)}' is of type {own}, and in the files "
                f"before it of type {expected}; write all with one type"
            )
        kinds[field.name] = own if _says_more(own, expected) else expected
    return pa.schema(kinds).empty_table()


def _says_more(own: pa.DataType, known: pa.DataType) -> bool:
    """Whether a type says what another leaves open, that of nulls or of empty lists alone."""
    if _is_list(own) and _is_list(known):
        return _says_more(own.value_type, known.value_type)
    return bool(pa.types.is_null(known) and not pa.types.is_null(own))


def _is_list(kind: pa.DataType) -> bool:
    """Whether it is of lists; how far they may reach (Polars writes large ones) is no matter."""
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind))


def _agree(one: pa.DataType, other: pa.DataType) -> bool:
    """Whether a column may be of both types: nulls alone are of any, empty lists of any list."""
    if one == other or pa.types.is_null(one) or pa.types.is_null(other):
        return True
    lists = _is_list(one) and _is_list(other)
    return bool(lists and _agree(one.value_type, other.value_type))


def _is_parquet(path: Path) -> bool:
    return FORMS.get(path.suffix.lower()) == "parquet"


def _shown(file: Path, root: Path) -> bool:
    """Whether it does not begin with a dot or an underscore: others leave that out too."""
    return not any(part.startswith((".", "_")) for part in file.relative_to(root).parts)
