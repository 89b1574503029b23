"""Histories as padded batches of similar length, every prefix a training example."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from p5mm.histories import Histories


@dataclass(frozen=True)
class Batch:
    """Padded histories.

    Attributes:
        rows: ``[b, s]`` int64 item rows, padded on the right with 0.
        lengths: ``[b]`` int64 true lengths, at least 1.
        targets: ``[b, s]`` int64, the next item at each position; -1 where there is none.
        ratings: ``[b, s]`` float32 aligned with ``rows``, NaN where unknown.
        target_ratings: ``[b, s]`` float32 aligned with ``targets``, NaN where unknown.
    """

    rows: Tensor
    lengths: Tensor
    targets: Tensor
    ratings: Tensor
    target_ratings: Tensor

    @property
    def mask(self) -> Tensor:
        """``[b, s]`` bool, True at real positions."""
        return torch.arange(self.rows.shape[1])[None, :] < self.lengths[:, None]


@dataclass(frozen=True)
class Windows:
    """Pieces of histories: ``[start, stop)`` in the flat item array."""

    starts: NDArray[np.int64]
    stops: NDArray[np.int64]

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Length of each piece."""
        return self.stops - self.starts


def training_windows(train: Histories, max_history: int, rng: np.random.Generator) -> Windows:
    """Pieces of at most ``max_history`` inputs and their next items; each item is a target once.

    Long histories are cut at places drawn anew for every epoch, so that no position is always
    short of context.
    """
    starts: list[NDArray[np.int64]] = []
    stops: list[NDArray[np.int64]] = []
    begin, end = train.offsets[:-1], train.offsets[1:]
    first_cut = end - rng.integers(0, max_history, size=len(train))
    stop = np.where(end - begin <= max_history + 1, end, np.maximum(first_cut, begin + 2))
    live = (end - begin) >= 2
    begin, end, stop = begin[live], end[live], stop[live]
    starts.append(np.maximum(begin, end - max_history - 1))
    stops.append(end)
    # earlier pieces end where the one after them has its first input
    stop = np.minimum(stop, starts[0] + 1)
    while (more := (stop - begin) >= 2).any():
        begin, stop = begin[more], stop[more]
        start = np.maximum(begin, stop - max_history - 1)
        starts.append(start)
        stops.append(stop)
        stop = start + 1
    return Windows(np.concatenate(starts), np.concatenate(stops))


def training_batches(
    train: Histories, max_history: int, positions: int, seed: int, epoch: int
) -> Iterator[Batch]:
    """All prefixes of all histories once, in batches of about ``positions`` real positions.

    Batches hold pieces of similar length, so padding is small. Cuts, batches and their order are
    functions of ``(seed, epoch)`` alone: a resumed run sees what the first one would have seen.
    """
    rng = np.random.default_rng((seed, epoch))
    windows = training_windows(train, max_history, rng)
    lengths = windows.lengths - 1
    order = np.argsort(lengths + rng.random(len(lengths)) * 0.9, kind="stable")
    filled = np.cumsum(lengths[order])
    group = (filled - 1) // positions
    pieces = np.split(order, np.flatnonzero(np.diff(group)) + 1)
    for i in rng.permutation(len(pieces)):
        piece = pieces[i]
        yield _training_batch(train, windows.starts[piece], windows.stops[piece])


def _training_batch(
    train: Histories, starts: NDArray[np.int64], stops: NDArray[np.int64]
) -> Batch:
    lengths = stops - starts - 1
    column = np.arange(lengths.max())
    real = column[None, :] < lengths[:, None]
    take = np.where(real, starts[:, None] + column, 0)
    rows = np.where(real, train.items[take], 0)
    targets = np.where(real, train.items[take + real], -1)
    ratings = _ratings(train, take, real)
    return Batch(
        torch.from_numpy(rows),
        torch.from_numpy(lengths),
        torch.from_numpy(targets),
        torch.from_numpy(ratings),
        torch.from_numpy(_ratings(train, take + real, real)),
    )


def _ratings(
    histories: Histories, take: NDArray[np.int64], real: NDArray[np.bool_]
) -> NDArray[np.float32]:
    if histories.ratings is None:
        return np.full(take.shape, np.nan, dtype=np.float32)
    return np.where(real, histories.ratings[take], np.nan).astype(np.float32)


def history_batch(histories: Histories, max_history: int) -> Batch:
    """The last ``max_history`` items of each history; an empty history is one position of row 0.

    An empty history must be recognised by the caller (``histories.lengths == 0``): nothing can be
    said about its user but what is said of everybody.
    """
    lengths = np.minimum(histories.lengths, max_history)
    column = np.arange(max(1, lengths.max(initial=1)))
    real = column[None, :] < lengths[:, None]
    take = np.where(real, (histories.offsets[1:] - lengths)[:, None] + column, 0)
    items = histories.items if len(histories.items) else np.zeros(1, dtype=np.int64)
    rows = np.where(real, items[take], 0)
    nothing = np.full(rows.shape, -1, dtype=np.int64)
    unknown = np.full(rows.shape, np.nan, dtype=np.float32)
    ratings = _ratings(histories, take, real) if len(histories.items) else unknown
    return Batch(
        torch.from_numpy(rows),
        torch.from_numpy(np.maximum(lengths, 1)),
        torch.from_numpy(nothing),
        torch.from_numpy(ratings),
        torch.from_numpy(unknown),
    )
