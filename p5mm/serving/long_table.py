"""A table of any length, in one file or in many, that is read window by window."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from p5mm.data.raw_file import FORMS
from p5mm.data.tables import arrow_table, read_table
from p5mm.errors import InputError, shown

READ = 8_192  # rows that a file is read in


@dataclass(frozen=True)
class LongTable:
    """Rows in order: of Parquet files, which are never held whole, or of a table at hand.

    Attributes:
        name: Of the table in messages.
        files: Parquet files of the same columns, in order.
        table: Held where there are no files.
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
        empty, total = _checked(files[0]), 0
        for file in files:
            _check_same(file, _checked(file), files[0], empty)
            with _whole(file):
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
                    yield _joined(held)
                    held, count = [], 0
        if held or not self.rows:
            yield _joined(held) if held else self.table

    def _pieces(self, first: int) -> Iterator[pa.Table]:
        if not self.files:
            yield self.table.slice(first)
            return
        for file in self.files:
            with _whole(file):
                about = pq.ParquetFile(file).metadata
            groups = [*range(about.num_row_groups)]
            while groups and first >= (size := about.row_group(groups[0]).num_rows):
                first -= size
                groups.pop(0)
            for piece in _read(file, groups) if groups else ():
                yield piece.slice(min(first, piece.num_rows))
                first = max(0, first - piece.num_rows)


def _read(file: Path, groups: list[int]) -> Iterator[pa.Table]:
    with _whole(file):
        for batch in pq.ParquetFile(file).iter_batches(READ, row_groups=groups):
            yield arrow_table(batch, str(file))


def _joined(parts: list[pa.Table]) -> pa.Table:
    """One table; a column of nulls takes the type that it has in another part."""
    return pa.concat_tables(parts, promote_options="default").combine_chunks()


def _checked(file: Path) -> pa.Table:
    """The columns of a file, in a table without rows."""
    with _whole(file):
        schema = pq.ParquetFile(file).schema_arrow
    return arrow_table(schema.empty_table(), str(file))


def _check_same(file: Path, columns: pa.Table, first: Path, wanted: pa.Table) -> None:
    if set(columns.column_names) != set(wanted.column_names):
        other = sorted(set(columns.column_names) ^ set(wanted.column_names))
        raise InputError(
            f"{file} has other columns than {first.name} ('{shown(other[0])}' is in one of them "
            "alone); write all with the same columns"
        )
    for name in wanted.column_names:
        own, expected = columns.schema.field(name).type, wanted.schema.field(name).type
        if own != expected and not pa.types.is_null(own) and not pa.types.is_null(expected):
            raise InputError(
                f"{file}: the column '{shown(name)}' is of type {own}, and in {first.name} of "
                f"type {expected}; write all with one type"
            )


@contextmanager
def _whole(file: Path) -> Iterator[None]:
    try:
        yield
    except InputError:
        raise
    except (pa.ArrowException, OSError, ValueError) as error:
        raise InputError(
            f"{file} is not a whole Parquet file: {shown(str(error))[:300]}; write it again"
        ) from error


def _is_parquet(path: Path) -> bool:
    return FORMS.get(path.suffix.lower()) == "parquet"


def _shown(file: Path, root: Path) -> bool:
    """Whether it does not begin with a dot or an underscore: others leave that out too."""
    return not any(part.startswith((".", "_")) for part in file.relative_to(root).parts)
