"""Histories cut and padded into training batches in which every position is an example."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from p5mm.histories import Histories


@dataclass(frozen=True)
class Batch:
    """Windows of similar length, padded on the right.

    Attributes:
        inputs: ``[b, length]`` int64 item rows.
        targets: ``[b, length]`` int64, the item after each input.
        mask: ``[b, length]`` bool, True at real positions.
    """

    inputs: Tensor
    targets: Tensor
    mask: Tensor


@dataclass(frozen=True)
class Windows:
    """Stretches of a flat item array; each has one more item, its last target, behind it.

    Attributes:
        items: ``[n]`` int64 item rows of all histories.
        starts: ``[windows]`` int64 first inputs.
        lengths: ``[windows]`` int64 numbers of inputs, at least 1.
    """

    items: NDArray[np.int64]
    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]

    @classmethod
    def cut(cls, histories: Histories, size: int) -> "Windows":
        """Every history in windows of at most ``size`` inputs, whole ones at its end."""
        inputs = np.maximum(histories.lengths - 1, 0)
        counts = -(-inputs // size)
        from_end = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        ends = np.repeat(histories.offsets[:-1] + inputs, counts) - from_end * size
        starts = np.maximum(ends - size, np.repeat(histories.offsets[:-1], counts))
        return cls(histories.items, starts, ends - starts)

    def batches(self, tokens: int, rng: np.random.Generator) -> Iterator[Batch]:
        """Batches of about ``tokens`` positions in random order; lengths in a batch are similar."""
        # A little noise on the length changes the company a window is in from epoch to epoch.
        order = np.argsort(self.lengths * rng.uniform(1.0, 1.1, len(self.lengths)))
        filled = np.cumsum(self.lengths[order]) // tokens
        groups = np.split(order, np.flatnonzero(np.diff(filled)) + 1)
        for i in rng.permutation(len(groups)):
            starts, lengths = self.starts[groups[i]], self.lengths[groups[i]]
            inputs, mask = pad(self.items, starts, lengths)
            targets, _ = pad(self.items, starts + 1, lengths)
            yield Batch(*(torch.from_numpy(array) for array in (inputs, targets, mask)))


def pad(
    items: NDArray[np.int64], starts: NDArray[np.int64], lengths: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Stretches of ``items`` as rows ``[b, longest]``, and where they are real.

    Example:
        >>> rows, mask = pad(np.array([7, 8, 9]), np.array([0, 2]), np.array([2, 1]))
        >>> rows[mask].tolist()
        [7, 8, 9]
    """
    steps = np.arange(max(int(lengths.max(initial=0)), 1))
    mask = steps < lengths[:, None]
    rows = np.zeros(mask.shape, dtype=np.int64)
    rows[mask] = items[(starts[:, None] + steps)[mask]]
    return rows, mask
