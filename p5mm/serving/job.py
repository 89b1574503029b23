"""A long job over a table: part after part, and after a kill on from where it was."""

import fcntl
import hashlib
import json
import logging
import math
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from p5mm.cluster import Cluster
from p5mm.errors import InputError, counted
from p5mm.files import is_still, whole_file
from p5mm.progress import Progress, progress
from p5mm.serving.long_table import LongTable

WINDOW = 16_384  # rows of the input that make a part of the output
MANIFEST = "_manifest.jsonl"  # what begins so is no part for those who read a folder
PART = re.compile(r"part-\d{6,}\.parquet")
OURS = re.compile(rf"_manifest\.jsonl|{PART.pattern}|\..*\.draft-.*")
VERSION = 1

log = logging.getLogger(__name__)

Work = Callable[[pa.Table, int, Progress], pa.Table]


@dataclass(frozen=True)
class Job:
    """A folder with the parts of an output, and a manifest of what is done.

    The first line of the manifest says what is asked, each other line which part is whole; the
    last says that all are. A line is written when its part is on the disk, so after a kill no row
    is missing and none is there twice.

    Attributes:
        folder: Of the parts.
        asked: Whatever the output depends on; a job goes on only where it is the same.
        scratch: Whether the parts are nobody's output, so that those of another job give way.
    """

    folder: Path
    asked: Mapping[str, Any]
    scratch: bool = False

    def run(
        self,
        table: LongTable,
        work: Work,
        title: str,
        unit: str,
        anew: bool = False,
        finish: Callable[[int], None] = lambda _: None,
        cluster: Cluster | None = None,
    ) -> int:
        """Do what is not done yet; returns the rows of the whole output.

        Args:
            table: Read window by window.
            work: Makes a part of a window, of the number of the row before it, and of the progress
                by which it counts its rows.
            title: Of the progress.
            unit: What is counted.
            anew: Whether to begin again, whatever is there.
            finish: Called with the rows of the output when all parts are whole, before any other
                job may write here; may clear the folder.
            cluster: Who make the parts; this process where None. They read the table's files
                themselves, and are given the work once.

        Raises:
            InputError: Another job writes here, or one that was asked for something else has.
            OSError: A part cannot be written; the parts before it are whole.
        """
        before = self.folder.is_dir()
        with _alone(self.folder), progress(title, table.rows, unit) as shown:
            if anew or (self.scratch and not self._is_same):
                self._wipe()
            parts, finished = self._begun()
            shown.begin_at(min(len(parts) * WINDOW, table.rows))
            if parts:
                log.info(
                    "%s: %s there already", self.folder, counted(len(parts), "part is", "parts are")
                )
            if not finished:
                try:
                    making = _made(table, work, len(parts), shown, cluster)
                    self._go_on(making, parts)
                except BaseException:
                    if not parts:  # nothing that could be gone on with
                        self.clear(remove=not before)
                    raise
            rows: int = sum(part["rows"] for part in parts)
            finish(rows)
        return rows

    def _go_on(self, making: Iterator[pa.Table], parts: list[dict[str, Any]]) -> None:
        for number, made in enumerate(making, start=len(parts)):
            parts.append(self._part(_name(number), made))
        self._tell({"finished": True})

    @property
    def parts(self) -> list[Path]:
        """The parts that are whole, in order."""
        return [self.folder / line["part"] for line in _whole_parts(self._lines())]

    @property
    def _is_same(self) -> bool:
        """Whether the folder holds this job."""
        return self._lines()[:1] == [self._first]

    def clear(self, remove: bool = True) -> None:
        """Remove the manifest and the parts, and the folder if nothing else is in it."""
        self._wipe()
        if remove:
            with suppress(OSError):
                self.folder.rmdir()

    def _wipe(self) -> None:
        ours = [path for path in self.folder.iterdir() if OURS.fullmatch(path.name)]
        # The manifest goes last: after a kill the rest is known for what it is.
        for path in sorted(ours, key=lambda path: path.name == MANIFEST):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)

    @property
    def _first(self) -> dict[str, Any]:
        """The first line, as it is read back: JSON knows no tuples."""
        first: dict[str, Any] = json.loads(json.dumps({"p5mm_job": VERSION, **self.asked}))
        return first

    def _begun(self) -> tuple[list[dict[str, Any]], bool]:
        """The lines of the parts that are whole, and whether these are all."""
        lines, wanted = self._lines(), self._first
        if not lines and any(PART.fullmatch(path.name) for path in self.folder.iterdir()):
            raise InputError(
                f"{self.folder} has parts, and no {MANIFEST} that says of what; give another "
                "place, or begin anew with --force"
            )
        if lines and lines[0] != wanted:
            other = [key for key in wanted if lines[0].get(key) != wanted[key]]
            raise InputError(
                f"{self.folder} holds a job with another {' and '.join(other) or 'question'}; give "
                "another place, or begin anew with --force"
            )
        parts = _whole_parts(lines)
        there = next(
            (n for n, part in enumerate(parts) if not (self.folder / part["part"]).is_file()),
            len(parts),
        )
        finished = there == len(parts) and lines[1 + there : 2 + there] == [{"finished": True}]
        if not finished:  # a torn line goes, and whatever comes after a part that is gone
            kept = [wanted, *parts[:there]]
            with whole_file(self.folder / MANIFEST) as draft:
                draft.write_text("".join(f"{json.dumps(line)}\n" for line in kept))
        return parts[:there], finished

    def _part(self, name: str, made: pa.Table) -> dict[str, Any]:
        with whole_file(self.folder / name) as draft:
            pq.write_table(made, draft)
        line = {"part": name, "rows": made.num_rows}
        self._tell(line)
        return line

    def _tell(self, line: Mapping[str, Any]) -> None:
        with (self.folder / MANIFEST).open("a", encoding="utf-8") as file:
            file.write(f"{json.dumps(line)}\n")
            file.flush()
            os.fsync(file.fileno())

    def _lines(self) -> list[dict[str, Any]]:
        """The whole lines of the manifest."""
        try:
            text = (self.folder / MANIFEST).read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return []
        lines = []
        for line in text.splitlines():
            with suppress(ValueError):
                lines.append(json.loads(line))
        return lines if all(isinstance(line, dict) for line in lines) else []


@dataclass(frozen=True)
class _Windows:
    """What another process needs to make the parts of windows."""

    table: LongTable
    work: Work
    size: int

    def __call__(self, piece: pa.Table) -> pa.Table:
        """The part of the window whose number is in ``window``."""
        before = piece["window"][0].as_py() * self.size
        window = next(self.table.windows(self.size, before))
        return self.work(window, before, Progress("", window.num_rows, every=math.inf))


def _made(
    table: LongTable, work: Work, first: int, shown: Progress, cluster: Cluster | None
) -> Iterator[pa.Table]:
    """The parts from a number on, in order."""
    if cluster is None:
        for number, window in enumerate(table.windows(WINDOW, first * WINDOW), start=first):
            yield work(window, number * WINDOW, shown)
        return
    there = replace(table, files=tuple(file.absolute() for file in table.files))
    numbers = range(first, max(1, -(-table.rows // WINDOW)))
    pieces = [pa.table({"window": [number]}) for number in numbers]
    for number, made in zip(
        numbers, cluster.map(_Windows(there, work, WINDOW), pieces), strict=True
    ):
        shown.update(min(WINDOW, table.rows - number * WINDOW))
        yield made


def _whole_parts(lines: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The lines of parts, up to the first that is not the next part with its number of rows."""
    parts: list[dict[str, Any]] = []
    for line in lines[1:]:
        if line.get("part") != _name(len(parts)) or type(line.get("rows")) is not int:
            break
        parts.append({"part": line["part"], "rows": line["rows"]})
    return parts


def _name(number: int) -> str:
    return f"part-{number:06}.parquet"


def is_job(folder: Path) -> bool:
    """Whether there is nothing in a folder but a job, and drafts of one that was killed."""
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    begun = MANIFEST in names or (bool(names) and all(name.startswith(".") for name in names))
    return begun and all(OURS.fullmatch(name) for name in names)


def folder_digest(folder: Path) -> str:
    """Of all files in a folder: changes with any byte."""
    digest = hashlib.blake2b(digest_size=16)
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(f"{path.relative_to(folder)} {path.stat().st_size};".encode())
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "blake2b").digest())
    return digest.hexdigest()


def joined(parts: Sequence[Path]) -> Iterator[pa.RecordBatch]:
    """The rows of parts, one after the other."""
    for part in parts:
        yield from pq.ParquetFile(part).iter_batches()


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Make the folder, and keep other jobs out of it.

    Raises:
        InputError: There is another.
    """
    held = _locked(folder)
    while not is_still(folder, os.fstat(held)):  # another job has ended meanwhile and cleared it
        os.close(held)
        held = _locked(folder)
    try:
        yield
    finally:
        os.close(held)


def _locked(folder: Path) -> int:
    """A descriptor of the folder, which is made where it is missing, that holds its lock."""
    folder.mkdir(parents=True, exist_ok=True)
    held = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(held)
        raise InputError(
            f"another job writes into {folder}; wait for it, or give another place"
        ) from error
    except OSError as error:  # a file system without locks
        log.warning("%s cannot be locked (%s): let no two jobs write into it", folder, error)
    return held
