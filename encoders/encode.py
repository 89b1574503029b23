"""A catalog's raw values to features: threads load ahead, the model encodes, the store keeps.

Threads, and not processes: decoding and scaling a picture leave Python's lock, so they are as fast,
and they need no shared memory, no temporary files and no fork that a system can refuse.
"""

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from p5mm.encoders.base import Encoder, Features, Quarantined
from p5mm.encoders.store import FeatureStore, FeatureTable, content_keys
from p5mm.errors import InputError
from p5mm.progress import progress

BATCH = 32
WORTH_WORKERS = 128  # fewer values are loaded sooner than threads help
MOST_WORKERS = 8  # beyond these, threads wait for Python's lock


@dataclass
class Batch:
    """Some loaded values.

    Attributes:
        rows: The row of each value.
        values: What ``encoder.load`` made of it.
        reasons: Row to reason, for what could not be loaded.
    """

    rows: list[int] = field(default_factory=list)
    values: list[Any] = field(default_factory=list)
    reasons: dict[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Encoded:
    """Some values that were encoded.

    Attributes:
        rows: The row of each.
        vectors: ``[n, dim]`` float32.
        reasons: Row to reason, for what could not be loaded.
    """

    rows: list[int]
    vectors: NDArray[np.float32]
    reasons: dict[int, str]


Encoding = Callable[[Encoder, Sequence[Any], list[int], int], Iterator[Encoded]]


def encode_items(
    encoder: Encoder,
    spec: str,
    raws: Sequence[Any | None],
    store: FeatureStore | None = None,
    *,
    workers: int | None = None,
    batch_size: int = BATCH,
    elsewhere: Encoding | None = None,
    prepared: bool = False,
) -> Features:
    """One vector for each raw value; equal contents are encoded once, known ones not at all.

    Args:
        encoder: Gives ``load`` and ``encode``; its ``prepare(raws)``, if any, is called first.
        spec: Kept in the features: what makes this encoder again.
        raws: One value an item; None where the item lacks this modality. For an encoder whose
            ``reads_files`` is true a string is the path of a file, and its content is the key.
        store: Where vectors are looked up and kept; None computes all of them.
        workers: Threads that load ahead of the model; by default one a core, and none for few
            values or an encoder whose ``one_thread`` is true. 0 loads between the batches.
        batch_size: Values a batch.
        elsewhere: Encodes in the place of this process, as `encoded` does.
        prepared: Whether ``prepare`` was called already, with more values than these.

    Returns:
        Features in the order of ``raws``; what cannot be loaded is quarantined with its reason.

    Raises:
        InputError: The store cannot be used, or the encoder breaks its contract.
    """
    raws = as_files(raws) if getattr(encoder, "reads_files", False) else raws
    if hasattr(encoder, "prepare") and not prepared:
        encoder.prepare(raws)
    keys = content_keys(raws) if store is not None else [None] * len(raws)
    same = _first_with(keys)
    vectors = np.zeros((len(raws), encoder.dim), dtype=np.float32)
    done = np.zeros(len(raws), dtype=np.bool_)
    todo = [row for row, raw in enumerate(raws) if raw is not None and same[row] == row]
    reasons: dict[int, str] = {}
    with ExitStack() as stack:
        table = None
        if store is not None and any(key is not None for key in keys):
            table = store.table(encoder.fingerprint, encoder.dim)
            todo = _take_known(table, keys, todo, vectors, done)
        writer = stack.enter_context(table.writer()) if table is not None else None
        bar = stack.enter_context(progress(f"encode {encoder.modality}", len(todo)))
        made = (
            encoded(encoder, raws, todo, batch_size, workers)
            if elsewhere is None
            else elsewhere(encoder, raws, todo, batch_size)
        )
        for batch in made:
            vectors[batch.rows] = batch.vectors
            done[batch.rows] = True
            reasons.update(batch.reasons)
            if writer is not None:
                writer.add([keys[row] for row in batch.rows], vectors[batch.rows])
            bar.update(len(batch.rows) + len(batch.reasons))
    broken = (
        Quarantined(row, reasons[first]) for row, first in enumerate(same) if first in reasons
    )
    return Features(
        encoder.modality, spec, encoder.fingerprint, vectors[same], done[same], tuple(broken)
    )


def encoded(
    encoder: Encoder, raws: Sequence[Any], rows: list[int], batch_size: int, workers: int | None
) -> Iterator[Encoded]:
    """Vectors of some rows, batch by batch; arguments as for ``load_ahead``.

    Raises:
        InputError: The encoder breaks its contract.
    """
    for batch in load_ahead(encoder, raws, rows, batch_size, workers):
        yield Encoded(batch.rows, checked(encoder, batch.values), batch.reasons)


def checked(encoder: Encoder, values: Sequence[Any]) -> NDArray[np.float32]:
    """Loaded values to vectors ``[n, dim]``, after a look at what the encoder gave.

    Raises:
        InputError: Not finite, or not ``[n, dim]``.
    """
    vectors = np.asarray(encoder.encode(values), dtype=np.float32)
    if vectors.shape != (len(values), encoder.dim):
        raise InputError(
            f"the {encoder.modality} encoder gave shape {list(vectors.shape)} for "
            f"{len(values)} values, not [{len(values)}, {encoder.dim}]"
        )
    if not np.isfinite(vectors).all():
        raise InputError(f"the {encoder.modality} encoder gave NaN or infinity")
    return vectors


def as_files(raws: Sequence[Any | None]) -> list[Any | None]:
    """Strings as paths, everything else as it is."""
    return [Path(raw) if isinstance(raw, str) else raw for raw in raws]


def load_ahead(
    encoder: Encoder, raws: Sequence[Any], rows: list[int], batch_size: int, workers: int | None
) -> Iterator[Batch]:
    """Batches of loaded values, in the order of ``rows``; texts by falling length.

    Args:
        encoder: Its ``load`` is called, in threads if there are any.
        raws: All raw values.
        rows: Which of them.
        batch_size: Values a batch.
        workers: Number of threads; None decides by ``default_workers``.
    """
    rows = longest_first(raws, rows)
    chunks = [rows[start : start + batch_size] for start in range(0, len(rows), batch_size)]
    count = default_workers(encoder, len(rows)) if workers is None else workers
    if count == 0:
        yield from (_load(encoder, raws, chunk) for chunk in chunks)
    elif chunks:
        yield from _by_threads(encoder, raws, chunks, min(count, len(chunks)))


def longest_first(raws: Sequence[Any], rows: list[int]) -> list[int]:
    """Rows by falling length of their texts, so that little is padded; others stay in order."""
    return sorted(rows, key=lambda row: -_text_length(raws[row]))


def default_workers(encoder: Encoder, values: int) -> int:
    """One thread a core, at most eight; none for few values or where ``load`` wants none."""
    if values < WORTH_WORKERS or getattr(encoder, "one_thread", False):
        return 0
    cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(MOST_WORKERS, cores if isinstance(cores, int) else len(cores))


def _by_threads(
    encoder: Encoder, raws: Sequence[Any], chunks: list[list[int]], count: int
) -> Iterator[Batch]:
    left = iter(chunks)
    with ThreadPoolExecutor(count, "p5mm-load") as threads:
        ahead: deque[Future[Batch]] = deque()
        try:
            for chunk in islice(left, 2 * count):
                ahead.append(threads.submit(_load, encoder, raws, chunk))
            while ahead:
                batch = ahead.popleft().result()
                for chunk in islice(left, 1):
                    ahead.append(threads.submit(_load, encoder, raws, chunk))
                yield batch
        finally:
            threads.shutdown(wait=False, cancel_futures=True)


def _load(encoder: Encoder, raws: Sequence[Any], chunk: list[int]) -> Batch:
    batch = Batch()
    for row in chunk:
        try:
            batch.values.append(encoder.load(raws[row]))
            batch.rows.append(row)
        except Exception as error:  # whatever a stranger's bytes or encoder raise
            batch.reasons[row] = _reason(error, raws[row])
    return batch


def _reason(error: Exception, raw: Any) -> str:
    if isinstance(error, OSError) and isinstance(raw, Path) and str(raw) not in str(error):
        return f"{type(error).__name__}: {error} ({raw})"
    return str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"


def _text_length(raw: Any) -> int:
    return len(raw) if isinstance(raw, str) else 0


def _first_with(keys: Sequence[bytes | None]) -> NDArray[np.int64]:
    """For each row the first row with the same key; itself where the key is None."""
    first: dict[bytes, int] = {}
    return np.array(
        [row if key is None else first.setdefault(key, row) for row, key in enumerate(keys)],
        dtype=np.int64,
    )


def _take_known(
    table: FeatureTable,
    keys: Sequence[bytes | None],
    todo: list[int],
    vectors: NDArray[np.float32],
    done: NDArray[np.bool_],
) -> list[int]:
    """Fills in what the table has; returns the rows that are left."""
    keyed = {row: key for row in todo if (key := keys[row]) is not None}
    known, old = table.get(list(keyed.values()))
    rows = np.fromiter(keyed, dtype=np.int64, count=len(keyed))[known]
    vectors[rows] = old
    done[rows] = True
    return [row for row in todo if not done[row]]
