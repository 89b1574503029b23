"""What of a log is trained on and what is held out: by user, or by time."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from p5mm.config import Way
from p5mm.data.histories import Histories
from p5mm.data.interactions import Interactions
from p5mm.errors import InputError, unknown

Part = Literal["valid", "test"]
PARTS: tuple[Part, ...] = ("valid", "test")
VALID_FROM, TEST_FROM = 0.8, 0.9  # quantiles of all times, of a split by time


@dataclass(frozen=True)
class Cases:
    """What an evaluation asks: given this history, where does this target rank?

    Attributes:
        users: ``[n]`` int64 rows of the users in the whole log.
        histories: What is known before the target, one a case; also the seen items.
        targets: ``[n]`` int64 item rows; never in the history given.
    """

    users: NDArray[np.int64]
    histories: Histories
    targets: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.targets)

    def take(self, which: NDArray[np.int64]) -> "Cases":
        """Some of the cases, in the order given."""
        return Cases(self.users[which], self.histories.select(which), self.targets[which])

    def in_rows(self, rows: NDArray[np.int64]) -> "Cases":
        """The same cases when item ``i`` is called ``rows[i]``."""
        histories = replace(self.histories, items=rows[self.histories.items])
        return Cases(self.users, histories, rows[self.targets])


@dataclass(frozen=True)
class Split(ABC):
    """What of a log is trained on, and what is held out: at most one item a user and part.

    Attributes:
        log: Whole histories.
    """

    log: Histories

    @property
    @abstractmethod
    def train(self) -> Histories:
        """What of each user's items is trained on, in the order of the users; may be nothing."""

    @property
    @abstractmethod
    def told(self) -> dict[str, Any]:
        """How it holds out, for the protocol of a report; plain JSON values."""

    @abstractmethod
    def before(self, part: Part) -> NDArray[np.int64]:
        """``[users]`` how many items stand before each user's target; -1 where there is none."""

    def cases(self, part: Part) -> Cases:
        """The validation or test cases.

        Raises:
            InputError: The part is neither "valid" nor "test".
        """
        answered, users = self.answered(part), np.flatnonzero(self.before(part) >= 0)
        targets = answered.items[answered.offsets[1:] - 1]
        return Cases(users.astype(np.int64), answered.without_last(1), targets)

    def answered(self, part: Part) -> Histories:
        """The histories of the cases, each with its target as the last item.

        Raises:
            InputError: The part is neither "valid" nor "test".
        """
        if part not in PARTS:
            raise unknown("split", part, PARTS)
        before = self.before(part)
        users = np.flatnonzero(before >= 0).astype(np.int64)
        return self.log.select(users).head(before[users] + 1)


@dataclass(frozen=True)
class LeaveOneOut(Split):
    """The last item is test, the one before it validation; fewer than three are trained on."""

    @property
    def train(self) -> Histories:
        """Every user's items without the last two (short histories whole)."""
        lengths = self.log.lengths
        return self.log.head(np.where(lengths >= 3, lengths - 2, lengths))

    @property
    def told(self) -> dict[str, Any]:
        """See ``Split``."""
        return {"held out": "leave-one-out by time"}

    def before(self, part: Part) -> NDArray[np.int64]:
        """See ``Split``."""
        lengths = self.log.lengths
        return np.where(lengths >= 3, lengths - (2 if part == "valid" else 1), -1)


@dataclass(frozen=True)
class TimeSplit(Split):
    """Whatever anybody took before ``valid_from`` is trained on, and nothing else.

    A target is the first item that a user took in the time of a part; its history is everything
    that the user took before that time. One target a user keeps the users comparable, and as the
    first it leaves no history with items from its own part.

    Attributes:
        log: Whole histories.
        times: ``[n]`` when each item of the log was taken; a user's times do not fall.
        valid_from: Start of the validation's time.
        test_from: End of it, and start of the test's.
    """

    times: NDArray[np.float64]
    valid_from: float
    test_from: float

    @classmethod
    def of(cls, log: Histories, times: NDArray[np.float64]) -> "TimeSplit":
        """The split at the quantiles ``VALID_FROM`` and ``TEST_FROM`` of all times.

        Raises:
            InputError: A part has no case.
        """
        starts = np.quantile(times, [VALID_FROM, TEST_FROM], method="higher")
        split = cls(log, times, float(starts[0]), float(starts[1]))
        for part in PARTS:
            if (split.before(part) < 0).all():
                raise InputError(
                    f"data.split is time, and the {part} part has no case: nobody took something "
                    f"before it and something in it (validation is from {split.valid_from:.15g} "
                    f"on, test from {split.test_from:.15g} on, times are {times.min():.15g} to "
                    f"{times.max():.15g}); give a longer log, or type --data.split leave-one-out"
                )
        return split

    @property
    def train(self) -> Histories:
        """Every user's items before the validation's time; nothing of those who came later."""
        return self.log.head(self._taken_before(self.valid_from))

    @property
    def told(self) -> dict[str, Any]:
        """See ``Split``."""
        return {
            "held out": "global time split: each user's first item from a time on (valid: the "
            f"{VALID_FROM} quantile of all times, test: {TEST_FROM})",
            "trained before": self.valid_from,
            "tested from": self.test_from,
        }

    def before(self, part: Part) -> NDArray[np.int64]:
        """See ``Split``."""
        valid = part == "valid"
        known = self._taken_before(self.valid_from if valid else self.test_from)
        until = self._taken_before(self.test_from) if valid else self.log.lengths
        return np.where((known > 0) & (known < until), known, -1)

    def _taken_before(self, time: float) -> NDArray[np.int64]:
        """``[users]`` how many items each user took before a time."""
        earlier = np.concatenate([[0], np.cumsum(self.times < time)])
        counts: NDArray[np.int64] = np.diff(earlier[self.log.offsets])
        return counts


def split_log(log: Interactions, items: Sequence[str], way: Way) -> tuple[list[str], Split]:
    """The users of a log, and its split in numbers of ``items``.

    Raises:
        InputError: A part of a time split has no case.
    """
    users, histories = log.histories(items)
    if way == "time" and users:  # of nobody there is no time
        return users, TimeSplit.of(histories, log.times(items))
    return users, LeaveOneOut(histories)
