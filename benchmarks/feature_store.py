"""Which feature store: p5mm's (SQLite and a mapped file), blobs in SQLite, or Lance.

    python benchmarks/feature_store.py [--rows 50000] [--dim 384]

Prints one block; Lance is measured where ``import lance`` works.
"""

import argparse
import os
import platform
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

BATCH = 512
Vectors = NDArray[np.float32]
Result = TypeVar("Result")


class Store(Protocol):
    """What is compared."""

    name: str
    module: str

    def __init__(self, folder: Path, dim: int) -> None: ...

    def put(self, keys: Sequence[bytes], vectors: Vectors) -> None:
        """Commits vectors ``[n, dim]``."""

    def get(self, keys: Sequence[bytes]) -> Vectors:
        """Vectors ``[n, dim]`` of known keys, in order."""


class Mapped:
    """p5mm.encoders.store.FeatureTable."""

    name, module = "p5mm (SQLite + mapped file)", "p5mm.encoders.store"

    def __init__(self, folder: Path, dim: int) -> None:
        from p5mm.encoders.store import FeatureStore

        self.table = FeatureStore(folder).table("benchmark", dim)

    def put(self, keys: Sequence[bytes], vectors: Vectors) -> None:
        """Commits vectors ``[n, dim]``."""
        self.table.put(keys, vectors)

    def get(self, keys: Sequence[bytes]) -> Vectors:
        """Vectors ``[n, dim]`` of known keys, in order."""
        return self.table.get(keys)[1]


class Blobs:
    """Vectors as blobs in one SQLite table."""

    name, module = "SQLite blobs", "sqlite3"

    def __init__(self, folder: Path, dim: int) -> None:
        self.dim = dim
        self.db = sqlite3.connect(folder / "blobs.sqlite")
        self.db.execute("PRAGMA mmap_size=1099511627776")
        self.db.execute("CREATE TABLE v (key BLOB PRIMARY KEY, vector BLOB)")

    def put(self, keys: Sequence[bytes], vectors: Vectors) -> None:
        """Commits vectors ``[n, dim]``."""
        rows = ((key, vector.tobytes()) for key, vector in zip(keys, vectors, strict=True))
        with self.db:
            self.db.executemany("INSERT OR IGNORE INTO v VALUES (?, ?)", rows)

    def get(self, keys: Sequence[bytes]) -> Vectors:
        """Vectors ``[n, dim]`` of known keys, in order."""
        place = {key: i for i, key in enumerate(keys)}
        out = np.empty((len(keys), self.dim), dtype=np.float32)
        for start in range(0, len(keys), 500):
            some = keys[start : start + 500]
            marks = ",".join("?" * len(some))
            query = f"SELECT key, vector FROM v WHERE key IN ({marks})"
            for key, blob in self.db.execute(query, some):
                out[place[key]] = np.frombuffer(blob, np.float32)
        return out


class Lance:
    """A Lance dataset; keys are looked up in one scan of the key column."""

    name, module = "Lance", "lance"

    def __init__(self, folder: Path, dim: int) -> None:
        self.uri, self.dim = str(folder / "vectors.lance"), dim

    def put(self, keys: Sequence[bytes], vectors: Vectors) -> None:
        """Commits vectors ``[n, dim]``."""
        import lance  # type: ignore[import-not-found]
        import pyarrow as pa

        values = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), self.dim)
        table = pa.table({"key": pa.array(keys, pa.binary(16)), "vector": values})
        lance.write_dataset(table, self.uri, mode="append")

    def get(self, keys: Sequence[bytes]) -> Vectors:
        """Vectors ``[n, dim]`` of known keys, in order."""
        import lance

        data = lance.dataset(self.uri)
        stored = data.to_table(columns=["key"])["key"].to_pylist()
        rows = {key: row for row, key in enumerate(stored)}
        taken = data.take([rows[key] for key in keys], columns=["vector"])
        column = taken["vector"].combine_chunks()
        vectors: Vectors = column.flatten().to_numpy().reshape(-1, self.dim)
        return vectors


def timed(call: Callable[[], Result]) -> tuple[float, Result]:
    start = time.perf_counter()
    result = call()
    return time.perf_counter() - start, result


def import_seconds(module: str) -> float:
    """The median of three fresh interpreters, without the interpreter's own start."""
    code = (
        "import time, numpy; t = time.perf_counter()\n"
        f"import {module}; print(time.perf_counter() - t)"
    )
    command = [sys.executable, "-c", code]
    runs = [subprocess.run(command, capture_output=True, text=True, check=True) for _ in range(3)]
    return sorted(float(run.stdout) for run in runs)[1]


def measure(
    kind: type[Store], folder: Path, keys: list[bytes], vectors: Vectors, some: NDArray[np.int64]
) -> list[str]:
    def write() -> Store:
        store = kind(folder, vectors.shape[1])
        for start in range(0, len(keys), BATCH):
            store.put(keys[start : start + BATCH], vectors[start : start + BATCH])
        return store

    seconds, store = timed(write)
    full, got = timed(lambda: store.get(keys))
    if not np.array_equal(got, vectors):
        raise SystemExit(f"{kind.name} lost something")
    part, _ = timed(lambda: np.array(store.get([keys[i] for i in some])))
    again, _ = timed(lambda: np.array(store.get(keys)))
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    times = [f"{1000 * t:.0f} ms" for t in (seconds, full, part, again)]
    return [
        kind.name,
        *times,
        f"{size / 1e6:.0f} MB",
        f"{1000 * import_seconds(kind.module):.0f} ms",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--dim", type=int, default=384)
    args = parser.parse_args()
    random = np.random.default_rng(0)
    vectors = random.standard_normal((args.rows, args.dim), dtype=np.float32)
    keys = [random.bytes(16) for _ in range(args.rows)]
    some = random.choice(args.rows, args.rows // 20, replace=False)
    print(f"feature store: {args.rows:,} x {args.dim} float32, commits of {BATCH} rows, seed 0")
    print(f"{platform.machine()}, {os.cpu_count()} CPUs, Python {platform.python_version()}\n")
    print(
        "| store | write | first read of all | 5 % at random | read of all again | size | import |"
    )
    print("|---|---|---|---|---|---|---|")
    stores: tuple[type[Store], ...] = (Mapped, Blobs, Lance)
    for kind in stores:
        if find_spec(kind.module.partition(".")[0]) is None:
            print(f"| {kind.name} | not installed | | | | | |")
            continue
        with tempfile.TemporaryDirectory() as folder:
            print("| " + " | ".join(measure(kind, Path(folder), keys, vectors, some)) + " |")


if __name__ == "__main__":
    main()
