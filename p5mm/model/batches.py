"""Histories as padded batches of similar length, every prefix a training example."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from p5mm.data.histories import Histories


@dataclass(frozen=True)
class Batch:
    """Padded histories.

    Attributes:
        rows: ``[b, s]`` int64 item rows, padded on the right with 0; s is at least 1.
        lengths: ``[b]`` int64 true lengths; 0 is the empty history.
        ratings: ``[b, s]`` float32 aligned with ``rows``, NaN where unknown.
        targets: ``[b, 1 + s]`` int64, what comes after nothing, after one item, ...; -1 for none.
        target_ratings: ``[b, 1 + s]`` float32 aligned with ``targets``, NaN where unknown.
    """

    rows: Tensor
    lengths: Tensor
    ratings: Tensor
    targets: Tensor
    target_ratings: Tensor

    def take(self, which: Tensor) -> "Batch":
        """Some of the histories ``[m]``, in the order given."""
        return Batch(
            self.rows[which],
            self.lengths[which],
            self.ratings[which],
            self.targets[which],
            self.target_ratings[which],
        )


@dataclass(frozen=True)
class Windows:
    """Pieces ``[start, stop)`` of histories; ``first`` is True where a history begins."""

    starts: NDArray[np.int64]
    stops: NDArray[np.int64]
    first: NDArray[np.bool_]

    @classmethod
    def cut(cls, train: Histories, max_history: int, rng: np.random.Generator) -> "Windows":
        """Pieces of at most ``max_history`` inputs in which every item is a target once.

        The first item of a later piece is the last target of the piece before it. The first cut
        of a long history falls anywhere, so that no item is always short of context.
        """
        begin, end = train.offsets[:-1], train.offsets[1:]
        begin, end = begin[end > begin], end[end > begin]
        size = max_history + 1
        drawn = rng.integers(2, size + 1, size=len(begin)) if size > 2 else np.full(len(begin), 2)
        stop = np.where(end - begin <= size, end, begin + drawn)
        pieces = [cls(begin, stop, np.ones(len(begin), dtype=np.bool_))]
        while (left := stop < end).any():
            start, end = stop[left] - 1, end[left]
            stop = np.minimum(start + size, end)
            pieces.append(cls(start, stop, np.zeros(len(start), dtype=np.bool_)))
        return cls(
            *(np.concatenate([getattr(p, f) for p in pieces]) for f in ("starts", "stops", "first"))
        )

    def take(self, which: NDArray[np.int64]) -> "Windows":
        """Some of the pieces."""
        return Windows(self.starts[which], self.stops[which], self.first[which])


def training_batches(
    train: Histories, max_history: int, positions: int, seed: int, epoch: int
) -> Iterator[Batch]:
    """All prefixes of all histories once, in batches of about ``positions`` targets.

    Batches hold pieces of similar length, so padding is small. Cuts, batches and their order are
    functions of ``(seed, epoch)`` alone: a resumed run sees what the first one would have seen.
    """
    rng = np.random.default_rng((seed, epoch))
    windows = Windows.cut(train, max_history, rng)
    lengths = windows.stops - windows.starts
    order = np.argsort(lengths + rng.random(len(lengths)) * 0.9, kind="stable")
    group = (np.cumsum(lengths[order]) - 1) // positions
    pieces = np.split(order, np.flatnonzero(np.diff(group)) + 1)
    for i in rng.permutation(len(pieces)):
        yield _training_batch(train, windows.take(pieces[i]))


@dataclass(frozen=True)
class Passes:
    """Passes over histories; a resumed training sees what the first one would have seen.

    Attributes:
        train: Histories to learn from.
        max_history: Items of a history that are read.
        positions: Targets of a batch, about.
        seed: Of cuts and order.
    """

    train: Histories
    max_history: int
    positions: int
    seed: int

    def __call__(self, number: int) -> Iterator[Batch]:
        """The batches of one pass."""
        return training_batches(self.train, self.max_history, self.positions, self.seed, number)

    @property
    def steps(self) -> float:
        """Batches of a pass, about; at least 1."""
        return max(1.0, len(self.train.items) / self.positions)


def last_batches(histories: Histories, max_history: int, batch: int) -> Iterator[Batch]:
    """Batches of ``batch`` histories in which the last item alone is a target."""
    order = np.argsort(histories.lengths, kind="stable")
    order = order[histories.lengths[order] > 0]
    for start in range(0, len(order), batch):
        rows = order[start : start + batch]
        stops = histories.offsets[rows + 1]
        starts = np.maximum(histories.offsets[rows], stops - max_history - 1)
        whole = _training_batch(
            histories, Windows(starts, stops, starts == histories.offsets[rows])
        )
        last = torch.arange(whole.targets.shape[1]) == whole.lengths[:, None]
        yield replace(whole, targets=whole.targets.masked_fill(~last, -1))


def _training_batch(train: Histories, windows: Windows) -> Batch:
    lengths = windows.stops - windows.starts - 1
    places = np.arange(max(1, lengths.max()) + 1)
    real = places <= lengths[:, None]
    take = np.where(real, windows.starts[:, None] + places, 0)
    items = np.where(real, train.items[take], -1)
    ratings = _ratings(train, take, real)
    rows = np.where(places[:-1] < lengths[:, None], items[:, :-1], 0)
    items[~windows.first, 0] = -1
    return Batch(
        torch.from_numpy(rows),
        torch.from_numpy(lengths),
        torch.from_numpy(ratings[:, :-1].copy()),
        torch.from_numpy(items),
        torch.from_numpy(ratings),
    )


def _ratings(
    histories: Histories, take: NDArray[np.int64], real: NDArray[np.bool_]
) -> NDArray[np.float32]:
    if histories.ratings is None or not len(histories.items):
        return np.full(take.shape, np.nan, dtype=np.float32)
    return np.where(real, histories.ratings[take], np.nan).astype(np.float32)


def history_batch(histories: Histories, max_history: int) -> Batch:
    """The last ``max_history`` items of each history, without targets."""
    lengths = np.minimum(histories.lengths, max_history)
    places = np.arange(max(1, lengths.max(initial=1)))
    real = places < lengths[:, None]
    take = np.where(real, (histories.offsets[1:] - lengths)[:, None] + places, 0)
    items = histories.items if len(histories.items) else np.zeros(1, dtype=np.int64)
    rows = np.where(real, items[take], 0)
    after = (len(lengths), len(places) + 1)
    return Batch(
        torch.from_numpy(rows),
        torch.from_numpy(lengths),
        torch.from_numpy(_ratings(histories, take, real)),
        torch.full(after, -1),
        torch.full(after, torch.nan),
    )


def scaled(batch: Batch, scale: tuple[float, float]) -> Batch:
    """A batch whose history ratings have mean 0 and spread 1."""
    return replace(batch, ratings=(batch.ratings - scale[0]) / scale[1])
