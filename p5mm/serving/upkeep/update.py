"""Interactions that come after a training: histories follow them at once."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pyarrow as pa

from p5mm.data.interactions import Interactions
from p5mm.data.tables import read_table, with_known_names
from p5mm.errors import InputError, counted
from p5mm.ranking.trained_model import TrainedModel
from p5mm.serving.folder import PARTS, read_model, write_parts
from p5mm.serving.since import Since
from p5mm.serving.upkeep.continuing import continued
from p5mm.serving.upkeep.rows import (
    ModelRows,
    changed_folder,
    check_writable,
    read_model_rows,
    write_rows,
)
from p5mm.steady import replaced_in_turn

TIME = "timestamp"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Update:
    """What interactions were to a model.

    Attributes:
        joined: How many it did not have.
        known: How many were known: their user had taken their item before.
        unknown: How many of those joined have an item that is not in the model.
        users: Users that the model did not have.
    """

    joined: int
    known: int
    unknown: int
    users: int

    def __str__(self) -> str:
        joined, users = counted(self.joined, "interaction"), counted(self.users, "new user")
        told = f"{joined} joined ({users}), {self.known:,} known"
        if self.unknown:
            told += f"; {self.unknown:,} with items that are not in the model, until p5mm add"
        return told


def with_interactions(
    model: TrainedModel, table: pa.Table, what: str
) -> tuple[TrainedModel, Update]:
    """A model whose users have taken more; nothing is trained.

    Args:
        model: Trained; not changed.
        table: As of a log; see `p5mm.data.interactions.Interactions.from_table`.
        what: Name of the table in messages.

    Raises:
        InputError: A column is missing or cannot be used.
    """
    later, done = _joined(table, model.log, model.later, model.catalog.item_ids, what)
    return replace(model, later=later), done


def update_model(folder: str | Path, interactions: str | Path) -> Update:
    """Join interactions to a model's folder; nothing else of it is written again.

    Args:
        folder: Of the model.
        interactions: File of a table as of a log.

    Raises:
        InputError: The folder is no model, or the table cannot be used.
    """
    table, what = read_table(interactions), f"interactions {interactions}"

    def prepare() -> Callable[[], Update]:
        rows = read_model_rows(folder)
        check_writable(folder)
        later, done = _joined(table, rows.log, rows.since.later, rows.item_ids, what)
        return partial(_write, folder, rows, later, done)

    return replaced_in_turn(folder, prepare)


def continue_model(folder: str | Path, epochs: int) -> None:
    """Let the training of a model's folder go on, on all that its users have taken.

    Args:
        folder: Of the model.
        epochs: As for `continued`.

    Raises:
        InputError: The folder is no model, or as `continued` says.
        OSError: It cannot be written.
    """

    def prepare() -> Callable[[], None]:
        model = read_model(Path(folder))
        check_writable(folder)
        return partial(_write_whole, folder, continued(model, epochs))

    replaced_in_turn(folder, prepare)


def _write_whole(folder: str | Path, model: TrainedModel) -> None:
    with changed_folder(folder, PARTS) as draft:
        write_parts(model, draft)


def _write(folder: str | Path, rows: ModelRows, later: Interactions, done: Update) -> Update:
    if done.joined:
        write_rows(folder, rows, Since(rows.since.deleted, later, rows.since.added))
    return done


def _joined(
    table: pa.Table,
    trained: Interactions,
    later: Interactions,
    item_ids: Sequence[str],
    what: str,
) -> tuple[Interactions, Update]:
    """The interactions since the training with those of a table, and what these were."""
    table = with_known_names(table, what, [TIME])
    given = Interactions.from_table(table, what)
    known = trained.joined(later)
    if TIME not in table.column_names:
        given = _behind(given, known, trained if len(trained) else later, what)
    new = given.beyond(known)
    if TIME not in table.column_names:  # repeats are gone: no gap may look like a time
        new = new.behind(known)
    users = len(set(new.user_ids).difference(known.user_ids))
    unknown = len(new) - new.among(item_ids)
    return later.joined(new), Update(len(new), len(given) - len(new), unknown, users)


def _behind(
    given: Interactions, known: Interactions, trained: Interactions, what: str
) -> Interactions:
    """Interactions without times, behind all that is known; in a log without times this is one.

    Raises:
        InputError: The log of the model has times.
    """
    if trained.has_clock:
        raise InputError(
            f"{what} has no column '{TIME}', and the model's log has times; give it the times"
        )
    if not len(known):
        return given
    place = given.table.column_names.index(TIME)
    last = known.table[TIME].to_numpy().max()
    times = pa.array(last + 1 + given.table[TIME].to_numpy())
    return Interactions(given.table.set_column(place, TIME, times))
