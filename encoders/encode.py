"""A catalog's raw values to features: workers load ahead, the model encodes, the store keeps."""

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
from numpy.typing import NDArray

from p5mm.encoders.base import Encoder, Features, Quarantined
from p5mm.encoders.load import load_ahead
from p5mm.encoders.store import FeatureStore, FeatureTable, content_keys
from p5mm.errors import InputError
from p5mm.progress import progress

BATCH = 32


def encode_items(
    encoder: Encoder,
    spec: str,
    raws: Sequence[Any | None],
    store: FeatureStore | None = None,
    *,
    workers: int | None = None,
    batch_size: int = BATCH,
) -> Features:
    """One vector for each raw value; equal contents are encoded once, known ones not at all.

    Args:
        encoder: Gives ``load`` and ``encode``; its ``prepare(raws)``, if any, is called first.
        spec: Kept in the features: what makes this encoder again.
        raws: One value an item; None where the item lacks this modality.
        store: Where vectors are looked up and kept; None computes all of them.
        workers: Processes that load ahead of the model; by default one a core, and none for few
            values or an encoder whose ``in_process`` is true. 0 loads in this process.
        batch_size: Values a batch.

    Returns:
        Features in the order of ``raws``; what cannot be loaded is quarantined with its reason.

    Raises:
        InputError: The store cannot be used, or the encoder breaks its contract.
    """
    if hasattr(encoder, "prepare"):
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
        for batch in load_ahead(encoder, raws, todo, batch_size, workers):
            vectors[batch.rows] = checked(encoder, batch.values)
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
    found, known = table.get(list(keyed.values()))
    rows = np.fromiter(keyed, dtype=np.int64, count=len(keyed))[found]
    vectors[rows] = known
    done[rows] = True
    return [row for row in todo if not done[row]]
