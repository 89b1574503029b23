"""Several values of one item, such as its pictures, become one vector: their mean."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from p5mm.encoders.base import Features, Quarantined

Rows = NDArray[np.int64]


def flattened(raws: Sequence[Any | None]) -> tuple[list[Any | None], list[int]]:
    """Every value by itself, and the row of the item that it is of; a tuple holds several."""
    values, owners = [], []
    for row, raw in enumerate(raws):
        for value in raw if isinstance(raw, tuple) else (raw,):
            values.append(value)
            owners.append(row)
    return values, owners


def pooled(features: Features, owners: Sequence[int], items: int) -> Features:
    """Features of items by those of their values.

    The vector of an item is the mean of its values' vectors, each at unit length, and is as long
    as these are on average: so of unit vectors it is one too. A value in quarantine does not count.

    Args:
        features: Of the values.
        owners: Row of the item of each value, ascending.
        items: Their number.
    """
    whose = np.asarray(owners, np.int64)
    there = np.flatnonzero(features.present)
    rows, starts, counts = np.unique(whose[there], return_index=True, return_counts=True)
    vectors = np.zeros((items, features.dim), np.float32)
    vectors[rows] = features.vectors[there[starts]]
    many = counts > 1
    if many.any():
        among = there[np.repeat(many, counts)]
        vectors[rows[many]] = _means(features.vectors[among], counts[many])
    present = np.zeros(items, np.bool_)
    present[rows] = True
    broken = _of_items(features, whose)
    return replace(features, vectors=vectors, present=present, quarantine=broken)


def _means(vectors: NDArray[np.float32], counts: Rows) -> NDArray[np.float32]:
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    means = np.add.reduceat(_divided(vectors, lengths), starts) / counts[:, None]
    wanted = np.add.reduceat(lengths, starts) / counts[:, None]
    scaled = _divided(means, np.linalg.norm(means, axis=1, keepdims=True)) * wanted
    return scaled.astype(np.float32)


def _divided(vectors: NDArray[Any], lengths: NDArray[Any]) -> NDArray[Any]:
    made: NDArray[Any] = np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)
    return made


def _of_items(features: Features, whose: Rows) -> tuple[Quarantined, ...]:
    first = np.searchsorted(whose, whose, "left")
    total = np.searchsorted(whose, whose, "right") - first
    return tuple(
        Quarantined(
            int(whose[bad.row]),
            bad.reason
            if total[bad.row] == 1
            else f"{features.modality} {bad.row - first[bad.row] + 1} of {total[bad.row]}: "
            f"{bad.reason}",
        )
        for bad in features.quarantine
    )
