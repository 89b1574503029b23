"""The feature store: a vector is computed once for a content and an encoder.

One folder for each encoder: an append-only file of vectors that readers map into memory, and an
SQLite table that says which content has which row. A row counts only when SQLite has committed
it, and that happens after its vector is on disk; so a killed process leaves nothing half done,
and SQLite's write lock keeps several processes apart.

Measured with benchmarks/feature_store.py: Lance writes faster and reads no faster, takes 217 MB
on disk, and has no unique key that would keep two processes from adding the same content twice;
blobs in SQLite are larger and slower to write.
"""

import os
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from p5mm.errors import InputError

CHUNK = 500  # keys a query; SQLite allows 32,766 parameters, and no more than this pays
FLUSH_SECONDS = 2.0
INDEX = "index.sqlite"


def default_folder() -> Path:
    """``$P5MM_CACHE``, or p5mm in the user's cache folder."""
    given = os.environ.get("P5MM_CACHE")
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(given) if given else Path(cache) / "p5mm"


class FeatureStore:
    """Vectors of any number of encoders below one folder.

    Args:
        path: The folder; by default `default_folder`.
    """

    def __init__(self, path: Path | str | None = None) -> None:
        self.path = Path(path) if path is not None else default_folder()

    def table(self, fingerprint: str, dim: int) -> "FeatureTable":
        """The vectors of one encoder.

        Raises:
            InputError: The folder cannot be written.
        """
        return FeatureTable(self._folder(fingerprint, dim), dim)

    def holds(self, fingerprint: str, dim: int, keys: Sequence[bytes]) -> NDArray[np.bool_]:
        """``[n]`` True for the keys whose vectors are here; no folder is made for that.

        Raises:
            InputError: The folder cannot be read.
        """
        folder = self._folder(fingerprint, dim)
        if not (folder / INDEX).exists():
            return np.zeros(len(keys), np.bool_)
        return FeatureTable(folder, dim).get(keys)[0]

    def _folder(self, fingerprint: str, dim: int) -> Path:
        name = blake2b(f"{fingerprint} {dim}".encode(), digest_size=16).hexdigest()
        return self.path / name


class FeatureTable:
    """Vectors of one encoder, by content key.

    Args:
        folder: Where ``index.sqlite`` and ``vectors.f32`` are.
        dim: Length of a vector.

    Raises:
        InputError: The folder cannot be written.
    """

    def __init__(self, folder: Path, dim: int) -> None:
        self.folder = folder
        self.dim = dim
        self._file = folder / "vectors.f32"
        with self._clear_errors():
            folder.mkdir(parents=True, exist_ok=True)
            with self._transaction() as db:
                db.execute(
                    "CREATE TABLE IF NOT EXISTS vectors (row INTEGER PRIMARY KEY, key BLOB UNIQUE)"
                )

    def __len__(self) -> int:
        with self._clear_errors(), self._transaction() as db:
            return self._end(db)

    def get(self, keys: Sequence[bytes]) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
        """Which keys are here, ``[n]`` bool, and the vectors of those, ``[known, dim]`` float32."""
        with self._clear_errors():
            with self._transaction(write=False) as db:
                rows = self._rows(db, keys)
            where = np.array([rows.get(key, -1) for key in keys], dtype=np.int64)
            known = where >= 0
            if not known.any():
                return known, np.empty((0, self.dim), dtype=np.float32)
            return known, np.asarray(self._map()[where[known]])

    def put(self, keys: Sequence[bytes], vectors: NDArray[np.float32]) -> None:
        """Adds vectors ``[n, dim]``; keys that are here already keep theirs.

        Raises:
            InputError: The disk is full, or the folder cannot be written.
        """
        with self._clear_errors(), self._transaction() as db:
            known = self._rows(db, keys)
            fresh = {key: i for i, key in enumerate(keys) if key not in known}
            start = self._end(db)
            self._write(start, vectors[list(fresh.values())])
            new = [(start + i, key) for i, key in enumerate(fresh)]
            db.executemany("INSERT INTO vectors VALUES (?, ?)", new)

    def writer(self) -> "Writer":
        """A context that collects vectors and puts them here every two seconds and at its end."""
        return Writer(self)

    def _write(self, start: int, vectors: NDArray[np.float32]) -> None:
        descriptor = os.open(self._file, os.O_RDWR | os.O_CREAT, 0o644)
        with os.fdopen(descriptor, "r+b") as file:
            file.seek(start * self.dim * 4)  # over what a killed writer may have left
            file.write(np.ascontiguousarray(vectors, dtype="<f4").tobytes())
            file.flush()
            os.fsync(file.fileno())

    def _map(self) -> NDArray[np.float32]:
        whole = self._file.stat().st_size // (self.dim * 4)
        return np.memmap(self._file, dtype="<f4", mode="r", shape=(whole, self.dim))

    def _rows(self, db: sqlite3.Connection, keys: Sequence[bytes]) -> dict[bytes, int]:
        rows: dict[bytes, int] = {}
        for start in range(0, len(keys), CHUNK):
            some = keys[start : start + CHUNK]
            marks = ",".join("?" * len(some))
            rows.update(db.execute(f"SELECT key, row FROM vectors WHERE key IN ({marks})", some))
        return rows

    def _end(self, db: sqlite3.Connection) -> int:
        last: int | None = db.execute("SELECT MAX(row) FROM vectors").fetchone()[0]
        return 0 if last is None else last + 1

    @contextmanager
    def _transaction(self, write: bool = True) -> Iterator[sqlite3.Connection]:
        db = sqlite3.connect(self.folder / INDEX, timeout=60, isolation_level=None)
        try:
            db.execute("BEGIN IMMEDIATE" if write else "BEGIN")
            yield db
            db.execute("COMMIT")
        finally:
            db.close()  # rolls back what was not committed

    @contextmanager
    def _clear_errors(self) -> Iterator[None]:
        try:
            yield
        except (OSError, sqlite3.Error, IndexError) as error:
            raise InputError(
                f"the feature store {self.folder} cannot be used: {error}. Make room or set "
                "P5MM_CACHE to a folder that can be written; a damaged one may be deleted"
            ) from error


class Writer:
    """Collects vectors for a table, so that a killed run loses no more than two seconds' work."""

    def __init__(self, table: FeatureTable) -> None:
        self._table = table
        self._keys: list[bytes] = []
        self._vectors: list[NDArray[np.float32]] = []
        self._flushed = time.monotonic()

    def add(self, keys: Sequence[bytes | None], vectors: NDArray[np.float32]) -> None:
        """Keeps vectors ``[n, dim]``, now or a little later; those without a key are not kept."""
        for key, vector in zip(keys, vectors, strict=True):
            if key is not None:
                self._keys.append(key)
                self._vectors.append(vector)
        if time.monotonic() - self._flushed > FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Puts all that was added into the table."""
        keys, vectors = self._keys, self._vectors
        self._keys, self._vectors = [], []
        if keys:
            self._table.put(keys, np.stack(vectors))
        self._flushed = time.monotonic()

    def __enter__(self) -> "Writer":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.flush()
