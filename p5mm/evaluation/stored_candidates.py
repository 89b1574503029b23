"""The candidates of the direct task: drawn once, stored, the same for every model."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from p5mm.data.histories import Histories
from p5mm.data.split import Cases, Part, Split
from p5mm.data.tables import read_table, require_columns
from p5mm.errors import InputError
from p5mm.files import whole_file
from p5mm.ranking.trained_model import TrainedModel

CANDIDATES = 100
BATCH = 256
COLUMNS = ["user_id", "candidates", "target"]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class StoredCandidates:
    """What every model chooses from.

    Attributes:
        cases: The cases of the split: all tasks ask for the same held-out items.
        candidates: ``[n, c]`` int64 item rows; the target among items the user never took.
    """

    cases: Cases
    candidates: NDArray[np.int64]

    @classmethod
    def draw(
        cls,
        split: Split,
        part: Part,
        n_items: int,
        seed: int = 0,
        count: int = CANDIDATES,
    ) -> "StoredCandidates":
        """The target and ``count - 1`` items drawn evenly from those the user never took.

        What a user took in any part of the log is no candidate, so nothing taken later stands
        as a negative. The target has no fixed place.

        Args:
            split: The log.
            part: Which held-out items.
            n_items: Catalog size.
            seed: Seed of the draws.
            count: Candidates of a case.

        Raises:
            InputError: A user left fewer than ``count - 1`` items untaken.
        """
        cases = split.cases(part)
        most = int(split.log.lengths[cases.users].max(initial=0))
        if n_items - most < count - 1:
            raise InputError(
                f"a user took {most} of {n_items} items, which leaves no {count - 1} others to "
                f"choose from; give at most {n_items - most + 1} candidates"
            )
        rng = np.random.default_rng((seed, part == "test"))
        drawn = [
            _draw(split.log.select(cases.users[start : start + BATCH]), n_items, count - 1, rng)
            for start in range(0, len(cases), BATCH)
        ]
        negatives = np.concatenate([np.empty((0, count - 1), np.int64), *drawn])
        candidates = np.concatenate([cases.targets[:, None], negatives], axis=1)
        return cls(cases, rng.permuted(candidates, axis=1))

    def __len__(self) -> int:
        return len(self.cases)

    @property
    def places(self) -> NDArray[np.int64]:
        """``[n]`` int64 place of the target among its candidates."""
        hits = self.candidates == self.cases.targets[:, None]
        places: NDArray[np.int64] = hits.argmax(axis=1).astype(np.int64)
        return places

    def write(self, path: Path, user_ids: Sequence[str], item_ids: Sequence[str]) -> None:
        """Write ``user_id``, ``candidates`` (a list of item ids) and ``target`` as Parquet."""
        names = np.asarray(item_ids, dtype=object)
        lists = names[self.candidates].tolist()
        columns = {
            "user_id": pa.array([user_ids[user] for user in self.cases.users], pa.string()),
            "candidates": pa.array(lists, pa.list_(pa.string())),
            "target": pa.array(names[self.cases.targets].tolist(), pa.string()),
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as draft:
            pq.write_table(pa.table(columns), draft)

    @classmethod
    def read(
        cls, path: Path, cases: Cases, user_ids: Sequence[str], item_ids: Sequence[str]
    ) -> "StoredCandidates":
        """Stored candidates of the same cases.

        Raises:
            InputError: The file holds other users, targets or items than the cases.
        """
        table = read_table(path)
        require_columns(table, str(path), COLUMNS)
        rows = {item: row for row, item in enumerate(item_ids)}
        users = [user_ids[user] for user in cases.users]
        targets = [item_ids[target] for target in cases.targets]
        lists = table["candidates"].to_pylist()
        if table["user_id"].to_pylist() != users or table["target"].to_pylist() != targets:
            raise InputError(f"{path} holds candidates of another split; remove it to draw anew")
        if not _are_candidates(lists, targets):
            raise InputError(
                f"{path} holds lists of different lengths, with an item twice, or without their "
                "target; remove it to draw anew"
            )
        if not all(item in rows for candidates in lists for item in candidates):
            raise InputError(f"{path} holds items that the catalog lacks; remove it to draw anew")
        candidates = [[rows[item] for item in candidates] for candidates in lists]
        return cls(cases, np.array(candidates, dtype=np.int64).reshape(len(cases), -1))


def stored_candidates(
    model: TrainedModel, part: Part, path: Path | None, seed: int = 0, count: int = CANDIDATES
) -> StoredCandidates:
    """The candidates of a file, drawn and written first where there is none.

    Args:
        model: Its split is asked for.
        part: Which held-out items.
        path: Parquet, written if that can be; None keeps nothing.
        seed: Seed of the draws.
        count: Candidates of a case.

    Raises:
        InputError: The file holds candidates of another split, or there are too few items.
    """
    items, users = model.fitted.items, model.split_users
    if path is not None and path.is_file():
        return StoredCandidates.read(path, model.split.cases(part), users, items)
    drawn = StoredCandidates.draw(model.split, part, len(items), seed, count)
    if path is not None:
        try:
            drawn.write(path, users, items)
        except OSError as error:
            log.warning("%s is not kept, and will be drawn again: %s", path, error)
    return drawn


def most_candidates(model: TrainedModel) -> int:
    """``CANDIDATES``, or as many as the user who took the most items leaves in a small catalog.

    Raises:
        InputError: Somebody took every item.
    """
    longest = int(model.split.log.lengths.max(initial=0))
    count = min(CANDIDATES, len(model.fitted.items) - longest + 1)
    if count < 2:
        raise InputError("a user took every item, which leaves no others to choose from")
    return count


def _are_candidates(lists: Sequence[Sequence[str] | None], targets: Sequence[str]) -> bool:
    """Whether each list holds its target, no item twice, and as many items as the others."""
    return len({len(items or ()) for items in lists}) <= 1 and all(
        items is not None and target in items and len(set(items)) == len(items)
        for items, target in zip(lists, targets, strict=True)
    )


def _draw(
    taken: Histories, n_items: int, count: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """``[b, count]`` items that each user did not take, without replacement."""
    keys = rng.random((len(taken), n_items))
    keys[np.repeat(np.arange(len(taken)), taken.lengths), taken.items] = np.inf
    if count == 0:
        return np.empty((len(taken), 0), np.int64)
    return np.argpartition(keys, count - 1, axis=1)[:, :count].astype(np.int64)
