"""Loading ahead of the model: worker processes decode while the model computes."""

import multiprocessing
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from p5mm.encoders.base import Encoder

WORTH_WORKERS = 128  # fewer values are loaded sooner than processes start


@dataclass
class Batch:
    """Some loaded values.

    Attributes:
        rows: The row of each value.
        values: What ``encoder.load`` made of it.
        reasons: Row to reason, for what could not be loaded.
    """

    rows: list[int] = field(default_factory=list)
    values: Any = field(default_factory=list)
    reasons: dict[int, str] = field(default_factory=dict)


def load_ahead(
    encoder: Encoder, raws: Sequence[Any], rows: list[int], batch_size: int, workers: int | None
) -> Iterator[Batch]:
    """Batches of loaded values, in the order of ``rows``; texts by falling length.

    Args:
        encoder: Its ``load`` is called, in worker processes if there are any.
        raws: All raw values.
        rows: Which of them.
        batch_size: Values a batch.
        workers: Number of processes; None decides by ``default_workers``.
    """
    rows = sorted(rows, key=lambda row: -_text_length(raws[row]))  # texts: little padding
    chunks = [rows[start : start + batch_size] for start in range(0, len(rows), batch_size)]
    count = default_workers(encoder, len(rows)) if workers is None else workers
    loader = _Loader(encoder, raws, chunks)
    if count == 0:
        yield from (loader.load(chunk) for chunk in range(len(chunks)))
    else:
        yield from _from_workers(loader, min(count, len(chunks)))


def default_workers(encoder: Encoder, values: int) -> int:
    """One process a core; none for few values, cheap loading, or a system that cannot fork."""
    if values < WORTH_WORKERS or getattr(encoder, "in_process", False):
        return 0
    if sys.platform != "linux":
        return 0  # elsewhere fork is missing or unsafe, and spawning would import torch in each
    return len(os.sched_getaffinity(0))


class _Loader:
    """A dataset of batches for torch's DataLoader."""

    def __init__(self, encoder: Encoder, raws: Sequence[Any], chunks: list[list[int]]) -> None:
        self._encoder = encoder
        self._raws = raws
        self._chunks = chunks

    def __len__(self) -> int:
        return len(self._chunks)

    def load(self, chunk: int) -> Batch:
        batch = Batch()
        for row in self._chunks[chunk]:
            try:
                batch.values.append(self._encoder.load(self._raws[row]))
                batch.rows.append(row)
            except Exception as error:  # whatever a stranger's bytes or encoder raise
                batch.reasons[row] = _reason(error)
        return batch

    def __getitem__(self, chunk: int) -> Batch:
        """The batch with its arrays packed into one shared tensor: no copy through a pipe."""
        import torch

        batch = self.load(chunk)
        kinds = {(type(one), getattr(one, "shape", ()), str(getattr(one, "dtype", "")))
                 for one in batch.values}  # fmt: skip
        if len(kinds) == 1 and isinstance(batch.values[0], np.ndarray):
            batch.values = torch.from_numpy(np.stack(batch.values))
        return batch


def _from_workers(loader: _Loader, count: int) -> Iterator[Batch]:
    import torch
    from torch.utils.data import DataLoader

    batches: Any = DataLoader(
        loader,  # type: ignore[arg-type]
        batch_size=None,
        collate_fn=_as_it_is,  # type: ignore[arg-type]
        num_workers=count,
        prefetch_factor=4,
        multiprocessing_context=multiprocessing.get_context("fork"),
    )
    for batch in batches:
        if isinstance(batch.values, torch.Tensor):
            batch.values = list(batch.values.numpy())
        yield batch


def _text_length(raw: Any) -> int:
    return len(raw) if isinstance(raw, str) else 0


def _as_it_is(batch: Batch) -> Batch:
    return batch


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
