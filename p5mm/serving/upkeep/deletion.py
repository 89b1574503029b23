"""Items that a model serves no more; what was learned of them stays, for histories hold them."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from p5mm.indexing.deletion import Deletion, named
from p5mm.ranking.trained_model import TrainedModel
from p5mm.serving.since import Since
from p5mm.serving.upkeep.rows import ModelRows, check_writable, read_model_rows, write_rows
from p5mm.steady import replaced_in_turn

WHAT = "model"


def without_items(
    model: TrainedModel, item_ids: Sequence[str], strict: bool = True
) -> TrainedModel:
    """A model that serves some items no more; nothing else of it changes.

    Args:
        model: Trained; not changed.
        item_ids: Which.
        strict: Whether every id must be an item's; else those that are none are passed over.

    Raises:
        InputError: An id is unknown, or no item would be left.
    """
    gone, _ = named(list(model.offered), item_ids, strict, WHAT)
    return replace(model, deleted=model.deleted | gone)


def delete_from_model(folder: str | Path, item_ids: Sequence[str], strict: bool = True) -> Deletion:
    """Serve items of a model's folder no more; nothing else of it is written again.

    Args:
        folder: Of the model.
        item_ids: Which.
        strict: Whether every id must be an item's; else those that are none are only told.

    Raises:
        InputError: The folder is no model, an id is unknown, or no item would be left.
    """

    def prepare() -> Callable[[], Deletion]:
        rows = read_model_rows(folder)
        check_writable(folder)
        before = rows.since.deleted_of(rows.item_ids)
        there = [item for item in rows.item_ids if item not in before]
        gone, unknown = named(there, item_ids, strict, WHAT)
        done = Deletion(len(gone), unknown, len(there) - len(gone))
        return partial(_delete, folder, rows, before | gone, done)

    return replaced_in_turn(folder, prepare)


def _delete(
    folder: str | Path, rows: ModelRows, deleted: frozenset[str], done: Deletion
) -> Deletion:
    if done.deleted:
        places = [row for row, item in enumerate(rows.item_ids) if item in deleted]
        since = Since(np.array(places, np.int64), rows.since.later, rows.since.added)
        write_rows(folder, rows, since)
    return done
