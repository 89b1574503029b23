"""What has become of a model since its training, in its folder.

deleted.safetensors   rows of the items that are served no more, where there are any
later.parquet         the interactions that have come since, where there are any
config.json           how many of both, and of the last items those that the training did not have
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from p5mm.arrays import Expected, read_arrays, write_arrays
from p5mm.data.interactions import Interactions
from p5mm.data.tables import read_table
from p5mm.errors import InputError
from p5mm.plain import check_type, reading

PLAIN_FORMAT, SINCE_FORMAT = 11, 12  # readers of the first alone would misread the second
FORMATS = (PLAIN_FORMAT, SINCE_FORMAT)
SINCE, DELETED, LATER = "since", "deleted.safetensors", "later.parquet"
ROWS = "rows"
REMEDY = "train again, or take another copy"


@dataclass(frozen=True)
class Since:
    """What has become of a model since its training.

    Attributes:
        deleted: ``[m]`` int64 rows of the items that are served no more, ascending.
        later: The interactions that have come since.
        added: How many of the last items the training did not have.
    """

    deleted: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    later: Interactions = field(default_factory=Interactions.empty)
    added: int = 0

    @property
    def counts(self) -> dict[str, int]:
        """How many of each, as config.json says."""
        return {"deleted": len(self.deleted), "later": len(self.later), "added": self.added}

    def deleted_of(self, item_ids: Sequence[str]) -> frozenset[str]:
        """The ids of the items that are served no more."""
        return frozenset(item_ids[row] for row in self.deleted.tolist())


def read_since(folder: Path, about: Mapping[str, Any], items: int) -> Since:
    """What has become of a model.

    Args:
        folder: Of the model.
        about: What its config.json says.
        items: Of its catalog.

    Raises:
        InputError: A file is missing or broken, or does not fit the catalog.
    """
    counts = read_counts(folder, about)
    with reading(folder / "config.json", REMEDY):
        for name, most in {"deleted": items - 1, "later": None, "added": items - 1}.items():
            if counts[name] < 0 or (most is not None and counts[name] > most):
                raise InputError(f"{SINCE}.{name} is {counts[name]}, of {items} items")
    deleted = _read_deleted(folder / DELETED, counts["deleted"], items)
    return Since(deleted, _read_later(folder / LATER, counts["later"]), counts["added"])


def read_counts(folder: Path, about: Mapping[str, Any]) -> dict[str, int]:
    """How many items were deleted and added since the training, and interactions joined.

    Raises:
        InputError: What config.json says of them is nothing that p5mm writes.
    """
    nothing = Since().counts
    counts: dict[str, int] = about.get(SINCE, nothing)
    with reading(folder / "config.json", REMEDY):
        check_type(counts, dict[str, int], SINCE)
        if counts.keys() != nothing.keys():
            raise InputError(f"{SINCE} must say {', '.join(nothing)}")
    return counts


def write_since(since: Since, about: Mapping[str, Any], draft: Path) -> None:
    """Write what has become of a model, and its config.json.

    Args:
        since: What has.
        about: What else config.json says.
        draft: Of the folder; has none of these files.

    Raises:
        OSError: It cannot be written.
    """
    import pyarrow.parquet as pq

    if len(since.deleted):
        write_arrays(draft / DELETED, {ROWS: since.deleted})
    if len(since.later):
        pq.write_table(since.later.table, draft / LATER)
    plain = not len(since.deleted) and not len(since.later)
    told: dict[str, Any] = {"p5mm": PLAIN_FORMAT if plain else SINCE_FORMAT}
    told |= {name: of for name, of in about.items() if name != "p5mm"}
    (draft / "config.json").write_text(json.dumps(told | {SINCE: since.counts}, indent=2))


def _read_deleted(path: Path, count: int, items: int) -> NDArray[np.int64]:
    if not count:
        return np.empty(0, np.int64)
    rows = read_arrays(path, {ROWS: Expected((count,), ("int64",), 0, items - 1)}, REMEDY)[ROWS]
    with reading(path, REMEDY):
        if (np.diff(rows) <= 0).any():
            raise InputError("its rows do not rise")
    return rows


def _read_later(path: Path, count: int) -> Interactions:
    if not count:
        return Interactions.empty()
    with reading(path, REMEDY):
        table = read_table(path)
        table.validate(full=True)
        if table.num_rows != count:
            raise InputError(f"it holds {table.num_rows} interactions, not {count}")
        return Interactions.from_table(table)
