"""Recommendations and scores of tables of any length, as jobs that go on after a kill."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import pyarrow as pa

from p5mm.data.tables import with_known_names
from p5mm.errors import InputError
from p5mm.progress import Progress
from p5mm.serving.job import Work, folder_digest
from p5mm.serving.limits import Limits
from p5mm.serving.long_table import LongTable
from p5mm.serving.pairs import COLUMNS as PAIR_COLUMNS
from p5mm.serving.requests import Requests, check_k
from p5mm.serving.server import Recommends, Server

if TYPE_CHECKING:
    from p5mm.serving.recommender import Recommender

R = TypeVar("R")

ALL = "all"


@dataclass(frozen=True)
class Wanted:
    """What is asked of a recommendation, whoever asks.

    Attributes:
        k: Items a user.
        filter_seen: Leave out what a history holds.
        limits: Which items anybody may get.
        strict: Whether an unknown user or item is an error.

    Raises:
        InputError: k is not positive.
    """

    k: int = 10
    filter_seen: bool = True
    limits: Limits = field(default_factory=Limits)
    strict: bool = False

    def __post_init__(self) -> None:
        check_k(self.k)


def users_of(given: str, recommender: Recommends) -> LongTable:
    """The users of a file or of a folder; ``all`` are those of the model's log.

    Raises:
        InputError: There is none, the columns are not those of users, or the log is empty.
    """
    if given == ALL:
        if not recommender.model.user_ids:
            raise InputError(
                "nobody is in the log of this model; give --users FILE with user_id and history"
            )
        return LongTable.of(pa.table({"user_id": recommender.model.user_ids}), ALL)
    users = LongTable.open(given)
    Requests.of_table(recommender.model, users.table.slice(0, 0), users.name, strict=True)
    return users


class Kept(Generic[R]):
    """A recommender that travels as its folder: whoever gets it there reads that once.

    Args:
        folder: Of the model.
        digest: Of the folder.
        opened: Reads it.
        recommender: Read from it; None until it is asked for.
    """

    def __init__(
        self, folder: Path, digest: str, opened: Callable[[Path], R], recommender: R | None = None
    ) -> None:
        self.folder = folder
        self.digest = digest
        self.opened = opened
        self._recommender = recommender

    def __reduce__(self) -> tuple[type["Kept[R]"], tuple[Path, str, Callable[[Path], R]]]:
        return Kept, (self.folder.absolute(), self.digest, self.opened)

    @property
    def recommender(self) -> R:
        """The recommender, read where it is not at hand.

        Raises:
            InputError: The folder holds another model than where this came from.
        """
        if self._recommender is None:
            self._recommender = self.opened(self.folder)
            if folder_digest(self.folder) != self.digest:
                raise InputError(
                    f"{self.folder} is another model on a worker than where the job began; give "
                    "a folder that all machines share"
                )
        return self._recommender


def recommend_job(
    recommender: Recommends,
    users: LongTable,
    model: Path,
    wanted: Wanted,
    opened: Callable[[Path], Recommends],
) -> tuple[Mapping[str, Any], Work]:
    """What the recommendations depend on, and how those of a window of users are made.

    Args:
        recommender: Loaded from ``model``.
        users: ``user_id``; ``history`` (lists of item ids) for new users; ``allow`` and ``deny``
            (lists of item ids) for what each may get.
        model: Folder of the model.
        wanted: What is asked.
        opened: Reads the model where the work is done elsewhere.
    """
    kept = Kept(model, folder_digest(model), opened, recommender)
    about = {
        "model": kept.digest, "users": users.digest, "options": asdict(wanted),
        "runtime": recommender.runtime,
    }  # fmt: skip
    return about, _Recommending(kept, users.name, wanted)


@dataclass(frozen=True)
class _Recommending:
    """Makes the recommendations of a window of users."""

    kept: Kept[Recommends]
    name: str
    wanted: Wanted

    def __call__(self, window: pa.Table, before: int, progress: Progress) -> pa.Table:
        wanted, name = self.wanted, _behind(self.name, before)
        model = self.kept.recommender.model
        requests = Requests.of_table(model, window, name, wanted.strict, nobody=True)
        made = self._server.answer(requests, wanted.k, wanted.filter_seen, progress)
        progress.update(window.num_rows - len(requests))
        return made

    @cached_property
    def _server(self) -> Server:
        return self.kept.recommender.server(self.wanted.limits, self.wanted.strict)


def score_job(
    recommender: "Recommender", pairs: LongTable, model: Path, strict: bool
) -> tuple[Mapping[str, Any], Work]:
    """What the scores depend on, and how those of a window of pairs are made."""
    kept = Kept(model, folder_digest(model), type(recommender).load, recommender)
    about = {"model": kept.digest, "pairs": pairs.digest, "options": {"strict": strict}}
    return about, _Scoring(kept, pairs.name, strict)


@dataclass(frozen=True)
class _Scoring:
    """Makes the scores of a window of pairs."""

    kept: "Kept[Recommender]"
    name: str
    strict: bool

    def __call__(self, window: pa.Table, before: int, progress: Progress) -> pa.Table:
        name = _behind(self.name, before)
        table = with_known_names(window, name, PAIR_COLUMNS)
        return self.kept.recommender.scored(table, name, self.strict, progress, nobody=True)


def _behind(name: str, before: int) -> str:
    """A name for messages whose rows are counted behind others."""
    return f"{name} behind row {before}" if before else name
