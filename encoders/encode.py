"""A catalog's raw values to features: threads load ahead, the model encodes, the store keeps."""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from p5mm.encoders.base import Encoder, Features, Quarantined
from p5mm.encoders.store import FeatureStore, FeatureTable
from p5mm.encoders.values.content import Contents
from p5mm.encoders.values.cost import Cost, sample_of
from p5mm.encoders.values.loading import SECONDS, load_ahead
from p5mm.encoders.values.several import flattened, pooled
from p5mm.errors import InputError
from p5mm.progress import progress

BATCH = 32
WORTH_A_SAMPLE = 1000  # values from which it is seen before what they will cost
WORTH_TELLING = 2.0  # seconds
TRIES = 3  # for files that were replaced while they were read
RESTLESS = "it is replaced again and again while it is read"

log = logging.getLogger(__name__)


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

    def without(self, rows: Sequence[int]) -> "Encoded":
        """The same but for some rows."""
        if not rows:
            return self
        kept = [place for place, row in enumerate(self.rows) if row not in rows]
        reasons = {row: reason for row, reason in self.reasons.items() if row not in rows}
        return Encoded([self.rows[place] for place in kept], self.vectors[kept], reasons)


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
    seconds: float = SECONDS,
) -> Features:
    """One vector for each raw value; equal contents are encoded once, known ones not at all.

    A file that is replaced while it is read is read again: no vector gets another content's key.
    Of many values a sample is encoded first, and the log tells what all of them will cost.

    Args:
        encoder: Gives ``load`` and ``encode``; its ``prepare(raws)``, if any, is called first.
        spec: Kept in the features: what makes this encoder again.
        raws: One value an item; None where the item lacks this modality, a tuple where it has
            several: then its vector is their mean (`p5mm.encoders.values.several.pooled`). For an
            encoder whose ``reads_files`` is true a string is the path of a file, and its content is
            the key.
        store: Where vectors are looked up and kept; None computes all of them.
        workers: Threads that load ahead of the model; by default one a core, and none for few
            values or an encoder whose ``one_thread`` is true. 0 loads between the batches.
        batch_size: Values a batch.
        elsewhere: Encodes in the place of this process, as `encoded` does.
        prepared: Whether ``prepare`` was called already, with more values than these.
        seconds: What takes longer to load is quarantined; not of an encoder with ``one_thread``.

    Returns:
        Features in the order of ``raws``; what cannot be loaded is quarantined with its reason.

    Raises:
        InputError: The store cannot be used, or the encoder breaks its contract.
    """
    if any(isinstance(raw, tuple) for raw in raws):
        values, owners = flattened(raws)
        every = encode_items(
            encoder, spec, values, store, workers=workers, batch_size=batch_size,
            elsewhere=elsewhere, prepared=prepared, seconds=seconds,
        )  # fmt: skip
        return pooled(every, owners, len(raws))
    raws = as_files(raws) if getattr(encoder, "reads_files", False) else raws
    if hasattr(encoder, "prepare") and not prepared:
        encoder.prepare(raws)
    way = _Way(batch_size, workers, seconds, elsewhere)
    features, moved = _encoded_once(encoder, spec, raws, store, way)
    for _ in range(TRIES):
        if not moved:
            return features
        some = [raws[row] for row in moved]
        again, still = _encoded_once(encoder, spec, some, store, way)
        features, moved = _with(features, moved, again), [moved[row] for row in still]
    broken = [*features.quarantine, *(Quarantined(row, RESTLESS) for row in moved)]
    return replace(features, quarantine=tuple(sorted(broken, key=lambda bad: bad.row)))


@dataclass(frozen=True)
class _Way:
    """How values are encoded; see `encode_items`."""

    batch_size: int
    workers: int | None
    seconds: float
    elsewhere: Encoding | None

    def batches(
        self, encoder: Encoder, raws: Sequence[Any], rows: list[int], known: int
    ) -> Iterator[Encoded]:
        """Vectors of some rows; of others, ``known``, there are some already."""
        if self.elsewhere is not None:
            return self.elsewhere(encoder, raws, rows, self.batch_size)
        return _here(encoder, raws, rows, known, self.batch_size, self.workers, self.seconds)


def _encoded_once(
    encoder: Encoder,
    spec: str,
    raws: Sequence[Any | None],
    store: FeatureStore | None,
    way: _Way,
) -> tuple[Features, list[int]]:
    """The features of raw values, and the rows that are still to be encoded.

    Those are of files which were replaced while they were read: what was loaded is not what has
    the key, and goes neither to the store nor to other rows of that key.
    """
    contents = Contents.of(raws) if store is not None else None
    keys = contents.keys if contents is not None else [None] * len(raws)
    same = _first_with(keys)
    vectors = np.zeros((len(raws), encoder.dim), dtype=np.float32)
    done = np.zeros(len(raws), dtype=np.bool_)
    todo = [row for row, raw in enumerate(raws) if raw is not None and same[row] == row]
    reasons: dict[int, str] = {}
    moved: set[int] = set()
    with ExitStack() as stack:
        table = None
        if store is not None and any(key is not None for key in keys):
            table = store.table(encoder.fingerprint, encoder.dim)
            todo = _take_known(table, keys, todo, vectors, done)
        writer = stack.enter_context(table.writer()) if table is not None else None
        bar = stack.enter_context(progress(f"encode {encoder.modality}", len(todo)))
        for made in way.batches(encoder, raws, todo, int(done.sum())):
            bar.update(len(made.rows) + len(made.reasons))
            other = contents.moved([*made.rows, *made.reasons]) if contents is not None else []
            moved.update(other)
            batch = made.without(other)
            vectors[batch.rows] = batch.vectors
            done[batch.rows] = True
            reasons.update(batch.reasons)
            if writer is not None:
                writer.add([keys[row] for row in batch.rows], batch.vectors)
    broken = (
        Quarantined(row, reasons[first]) for row, first in enumerate(same) if first in reasons
    )
    left = [row for row, first in enumerate(same) if first in moved] if moved else []
    if (same != np.arange(len(same))).any():  # else nothing is copied: it may be gigabytes
        vectors, done = vectors[same], done[same]
    made_by = encoder.modality, spec, encoder.fingerprint
    return Features(*made_by, vectors, done, tuple(broken)), left


def _with(features: Features, rows: list[int], of: Features) -> Features:
    """Features with those of some rows, which had none."""
    features.vectors[rows], features.present[rows] = of.vectors, of.present
    broken = [*features.quarantine, *(Quarantined(rows[b.row], b.reason) for b in of.quarantine)]
    return replace(features, quarantine=tuple(sorted(broken, key=lambda bad: bad.row)))


def _here(
    encoder: Encoder,
    raws: Sequence[Any],
    rows: list[int],
    known: int,
    batch_size: int,
    workers: int | None,
    seconds: float,
) -> Iterator[Encoded]:
    """As `encoded`; of many rows a sample comes first, and it is told what all of them cost."""
    if len(rows) >= WORTH_A_SAMPLE:
        sample = sample_of(rows)
        for some in (sample[:1], sample[1:]):  # the first makes the encoder warm
            start = time.perf_counter()
            yield from encoded(encoder, raws, some, len(some), 0, seconds)
        each = (time.perf_counter() - start) / (len(sample) - 1)
        if each * len(rows) >= WORTH_TELLING:
            log.info("%s", Cost(encoder.modality, known, len(rows), each * len(rows)))
        taken = set(sample)
        rows = [row for row in rows if row not in taken]
    yield from encoded(encoder, raws, rows, batch_size, workers, seconds)


def encoded(
    encoder: Encoder,
    raws: Sequence[Any],
    rows: list[int],
    batch_size: int,
    workers: int | None,
    seconds: float = SECONDS,
) -> Iterator[Encoded]:
    """Vectors of some rows, batch by batch; arguments as for ``load_ahead``.

    Raises:
        InputError: The encoder breaks its contract.
    """
    for batch in load_ahead(encoder, raws, rows, batch_size, workers, seconds):
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
