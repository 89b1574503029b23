"""The files that commands write: whole or not at all, and never over what is somebody else's."""

import argparse
import csv
import importlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from p5mm.errors import InputError, counted
from p5mm.terminal import say

if TYPE_CHECKING:
    import pyarrow as pa

    from p5mm.cluster import Cluster
    from p5mm.serving.job import Work
    from p5mm.serving.long_table import LongTable

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


def long_target(path: str, columns: Sequence[str], force: bool) -> Path:
    """A file, as ``table_target`` gives one, or where the name has no suffix a folder of parts.

    Raises:
        InputError: The suffix is none that is known, it cannot be written, or holds something else.
    """
    if Path(path).suffix and not Path(path).is_dir():
        return table_target(path, columns, force)
    from p5mm.files import refuse_other_output
    from p5mm.serving.job import is_job

    if Path(path).is_file():
        raise InputError(f"--out {path} is a file; give a folder, or a file with a suffix")
    refuse_other_output(path, is_job, "earlier output", force)
    return Path(path)


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
    write_batches(table.schema, table.to_batches(10_000), path)


def write_batches(schema: "pa.Schema", batches: "Iterable[pa.RecordBatch]", path: Path) -> None:
    """Write a table piece by piece in the form that the suffix says, whole or not at all."""
    from p5mm.files import whole_file

    with whole_file(path) as draft:
        _WRITERS[FORMS[path.suffix.lower()]](schema, batches, draft)


def write_job(
    target: Path,
    table: "LongTable",
    asked: Mapping[str, Any],
    work: "Work",
    told: tuple[str, str],
    force: bool,
    nothing: str = "",
    cluster: "Cluster | None" = None,
) -> None:
    """Do a job part after part, into a folder, or beside a file that all parts are written to.

    Args:
        target: A folder, or a file by whose suffix the form is told.
        table: What is read.
        asked: Whatever the output depends on.
        work: Makes a part.
        told: Title of the progress, and what it counts.
        force: Whether to begin anew what was begun otherwise.
        nothing: What is wrong where of some rows none are made.
        cluster: Who make the parts; this process where None.

    Raises:
        InputError: None are made.
    """
    import pyarrow.parquet as pq

    from p5mm.files import refuse_other_output
    from p5mm.serving.job import Job, is_job, joined

    whole = bool(target.suffix) and not target.is_dir()
    folder = target.with_name(f"{target.name}.parts") if whole else target
    if whole:
        refuse_other_output(folder, is_job, "job of p5mm")
    _refuse_input(table, target)
    job = Job(folder, asked, scratch=whole)

    def finish(rows: int) -> None:
        if nothing and table.rows and not rows:
            job.clear()
            raise InputError(f"{table.name}: {nothing}")
        told_parts = f" in {counted(len(job.parts), 'part')}"
        if whole:
            write_batches(pq.read_schema(job.parts[0]), joined(job.parts), target)
            job.clear()
        say(f"{target}: {counted(rows, 'row')}{'' if whole else told_parts}")

    job.run(table, work, *told, anew=force, finish=finish, cluster=cluster)


def _refuse_input(table: "LongTable", target: Path) -> None:
    """Refuse an output in the place of the input, or in its folder.

    Raises:
        InputError: It is there.
    """
    place = target.resolve()
    for file in table.files:
        root = Path(table.name).resolve()
        if place in (file.resolve(), root) or root in place.parents or place in root.parents:
            raise InputError(
                f"--out {target} is, holds or lies in what is read, {table.name}; give another "
                "place"
            )


def put(text: str, path: str | Path) -> None:
    """Write a whole file or nothing, or print to standard output."""
    from p5mm.files import whole_file

    if str(path) == STDOUT:
        print(text, end="")
        return
    with whole_file(path) as draft:
        draft.write_text(text, encoding="utf-8")


def _write_parquet(schema: "pa.Schema", batches: "Iterable[pa.RecordBatch]", path: Path) -> None:
    import pyarrow.parquet as pq

    with pq.ParquetWriter(path, schema) as writer:
        for batch in batches:
            writer.write_batch(batch)


def _write_csv(schema: "pa.Schema", batches: "Iterable[pa.RecordBatch]", path: Path) -> None:
    """Lists are written as JSON, which is read back as the list."""
    import pyarrow as pa
    import pyarrow.csv

    nested = {field.name for field in schema if pa.types.is_nested(field.type)}
    flat = pa.schema(
        [pa.field(of.name, pa.string() if of.name in nested else of.type) for of in schema]
    )
    with pyarrow.csv.CSVWriter(path, flat) as writer:
        for batch in batches:
            columns = [
                pa.array(
                    [None if v is None else json.dumps(v, default=str) for v in column.to_pylist()],
                    pa.string(),
                )
                if name in nested
                else column
                for name, column in zip(schema.names, batch.columns, strict=True)
            ]
            writer.write_batch(pa.record_batch(columns, schema=flat))


def _write_jsonl(schema: "pa.Schema", batches: "Iterable[pa.RecordBatch]", path: Path) -> None:
    with path.open("w", encoding="utf-8") as file:
        for batch in batches:
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
