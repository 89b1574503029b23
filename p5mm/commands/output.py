"""The files that commands write: whole or not at all, and never over what is somebody else's."""

import argparse
import csv
import importlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from p5mm.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa

STDOUT = "-"
PAGE = b'<meta name="generator" content="p5mm">'  # in the head of every page
FORMS = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".csv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
}


def add_force(parser: argparse.ArgumentParser) -> None:
    """Give a parser the option ``--force``."""
    parser.add_argument(
        "--force", action="store_true", help="write over what is no earlier output of this command"
    )


def table_target(
    path: str, columns: Sequence[str], force: bool, only: Sequence[str] | None = None
) -> Path:
    """A file that a table can be written to; its suffix says the form.

    Args:
        path: Parquet, CSV or JSONL.
        columns: That an earlier output has; a table without them is somebody else's.
        force: Whether anything may be written over.
        only: Columns that an earlier output may have; None for any.

    Raises:
        InputError: The suffix is none of these, or the file cannot be written.
    """
    if Path(path).suffix.lower() not in FORMS:
        raise InputError(
            f"--out {path}: the suffix says the form of the table; give one of {', '.join(FORMS)}"
        )

    def is_ours(file: Path) -> bool:
        names = _names(file)
        return bool(names) and set(columns) <= names and (only is None or names <= set(only))

    return target(path, is_ours, "earlier output", force)


def target(path: str, is_ours: Callable[[Path], bool], what: str, force: bool) -> Path:
    """A file that can be written.

    Raises:
        InputError: It is a folder, its folder does not exist or may only be read, or it holds
            what ``is_ours`` does not know.
    """
    from p5mm.files import refuse_other_output

    file = Path(path)
    if file.is_dir() or not file.absolute().parent.is_dir():
        raise InputError(f"{path} cannot be written: give a file in a folder that exists")
    refuse_other_output(file, is_ours, what, force)
    return file


def is_page(file: Path) -> bool:
    """Whether a file is a page that p5mm made."""
    with file.open("rb") as opened:
        return PAGE in opened.read(4096)


def page_module(name: str) -> ModuleType:
    """A module that makes pages; imported only when one is wanted.

    Raises:
        InputError: A package that pages need is not installed.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name not in ("jinja2", "markupsafe"):
            raise
        raise InputError(
            f"--html needs the package '{error.name}', which is not installed; "
            "type: pip install jinja2"
        ) from error


def write_table(table: "pa.Table", path: Path) -> None:
    """Write a table in the form that the suffix says, whole or not at all."""
    from p5mm.files import whole_file

    with whole_file(path) as draft:
        _WRITERS[FORMS[path.suffix.lower()]](table, draft)


def put(text: str, path: str | Path) -> None:
    """Write a whole file or nothing, or print to standard output."""
    from p5mm.files import whole_file

    if str(path) == STDOUT:
        print(text, end="")
        return
    with whole_file(path) as draft:
        draft.write_text(text, encoding="utf-8")


def _write_parquet(table: "pa.Table", path: Path) -> None:
    import pyarrow.parquet as pq

    pq.write_table(table, path)


def _write_csv(table: "pa.Table", path: Path) -> None:
    """Lists are written as JSON, which is read back as the list."""
    import pyarrow as pa
    import pyarrow.csv

    for place, field in enumerate(table.schema):
        if pa.types.is_nested(field.type):
            cells = [None if v is None else json.dumps(v) for v in table[place].to_pylist()]
            table = table.set_column(place, field.name, pa.array(cells, pa.string()))
    pyarrow.csv.write_csv(table, path)


def _write_jsonl(table: "pa.Table", path: Path) -> None:
    with path.open("w", encoding="utf-8") as file:
        for batch in table.to_batches(10_000):
            file.writelines(f"{json.dumps(row, default=str)}\n" for row in batch.to_pylist())


_WRITERS = {"parquet": _write_parquet, "csv": _write_csv, "jsonl": _write_jsonl}


def _names(path: Path) -> set[str]:
    """The columns of a table, none of what is no table; only its beginning is looked at.

    A CSV of ours has its names in quotes, which few others have.
    """
    import pyarrow.parquet as pq

    form = FORMS[path.suffix.lower()]
    try:
        if form == "parquet":
            return set(pq.ParquetFile(path).schema_arrow.names)
        with path.open("rb") as file:
            head = file.readline(1 << 16).decode()
        if form == "jsonl":
            return set(json.loads(head))
        return set(next(csv.reader([head]), [])) if head.startswith('"') else set()
    except (OSError, ValueError, TypeError, csv.Error):
        return set()
