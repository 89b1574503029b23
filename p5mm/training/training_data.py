"""What a model learns from: the training part of a log, in the numbers of the catalog."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from p5mm.config import Way
from p5mm.data.dataset import Dataset
from p5mm.data.histories import Histories
from p5mm.data.split import Split, split_log
from p5mm.errors import InputError
from p5mm.model.tokenizer import LEVELS
from p5mm.training.headline_objective import Headlines


@dataclass(frozen=True)
class TrainingData:
    """A log's split, and its training part in catalog rows.

    Attributes:
        users: Ids of the users of the split.
        items: Ids of the items that are learned from, ascending.
        rows: ``[items]`` int64 catalog row of each.
        item_ids: Ids of the whole catalog.
        split: In numbers of ``items``.
        learned: What a retriever learns from, in catalog rows: the training part of the split, or
            less where the reranker learns from the rest.
    """

    users: Sequence[str]
    items: tuple[str, ...]
    rows: NDArray[np.int64]
    item_ids: Sequence[str]
    split: Split
    learned: Histories

    @classmethod
    def of(
        cls, dataset: Dataset, way: Way = "leave-one-out", first_day: bool = False
    ) -> "TrainingData":
        """The data of a data set.

        Args:
            dataset: Catalog and log.
            way: How it is split.
            first_day: Nothing is learned from the log, which may be empty; then all items count.

        Raises:
            InputError: Nothing is held out, or a log without times is split by time.
        """
        if way == "time" and len(dataset.log) and not dataset.log.has_clock:
            raise InputError(
                "data.split is time, and the log has no times: what stands there are places in a "
                "file or in a line; give a log with a column timestamp, or type "
                "--data.split leave-one-out"
            )
        items = sorted(set(dataset.interactions.item_ids or dataset.catalog.item_ids))
        rows = np.array([dataset.catalog.rows[item] for item in items], dtype=np.int64)
        users, split = split_log(dataset.interactions, items, way)
        data = cls.of_split(users, tuple(items), rows, dataset.catalog.item_ids, split)
        if first_day:
            learned = data.learned.head(np.zeros_like(data.learned.lengths))
            return replace(data, learned=learned)
        if not len(data.split.cases("valid")):
            raise InputError(
                "no user has three interactions or more, so nothing can be held out to decide "
                "when training is done (after data.k_core, if it is set); give a longer log"
            )
        return data

    @classmethod
    def of_split(
        cls,
        users: Sequence[str],
        items: tuple[str, ...],
        rows: NDArray[np.int64],
        item_ids: Sequence[str],
        split: Split,
    ) -> "TrainingData":
        """The data of a split in numbers of ``items``; see the attributes."""
        train = split.train
        learned = replace(train, items=rows[train.items])
        return cls(users, items, rows, item_ids, split, learned)

    @property
    def train(self) -> Histories:
        """Training histories in catalog rows."""
        train = self.split.train
        return replace(train, items=self.rows[train.items])

    @property
    def trained(self) -> torch.Tensor:
        """``[n]`` bool, True where what is learned from holds an item of the catalog."""
        trained = torch.zeros(len(self.item_ids), dtype=torch.bool)
        trained[torch.from_numpy(self.learned.items)] = True
        return trained

    @property
    def rating_scale(self) -> tuple[float, float]:
        """Mean and spread of the training ratings; 0 and 1 without any."""
        known = _known(self.split.train)
        return (float(known.mean()), float(known.std()) or 1.0) if len(known) else (0.0, 1.0)

    @property
    def levels(self) -> tuple[float, ...]:
        """The levels that the rating family answers, ascending; empty without ratings."""
        known = _known(self.split.train)
        values = np.unique(known)
        if len(values) > len(LEVELS):
            values = np.linspace(values[0], values[-1], len(LEVELS))
        return tuple(map(float, values))


def training_digest(
    users: Sequence[str],
    items: Sequence[str],
    train: Histories,
    headlines: Headlines | None = None,
) -> str:
    """A digest of who took what in training, in which order, and how they rated and named it.

    Args:
        users: Ids of the users, a history each.
        items: Ids of the items that the histories count in.
        train: Training histories.
        headlines: That were learned; None where they are no task.
    """
    digest = hashlib.blake2b(digest_size=16)
    for ids in (users, items):
        for known_id in ids:
            digest.update(known_id.encode() + b"\0")
        digest.update(b"\1")
    digest.update(train.items.tobytes() + train.offsets.tobytes())
    digest.update(b"" if train.ratings is None else train.ratings.tobytes())
    if headlines is not None:
        digest.update(headlines.digest.encode())
    return digest.hexdigest()


def _known(train: Histories) -> NDArray[np.float32]:
    if train.ratings is None:
        return np.empty(0, np.float32)
    return train.ratings[~np.isnan(train.ratings)]
