"""Leave-one-out by time: the last item is test, the one before it validation."""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from p5mm.data.histories import Histories
from p5mm.errors import unknown

Part = Literal["valid", "test"]


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
class LeaveOneOut:
    """The split of a log; users with fewer than three items only train."""

    log: Histories

    @property
    def train(self) -> Histories:
        """Every user's items without the last two (short histories whole)."""
        lengths = self.log.lengths
        return self.log.head(np.where(lengths >= 3, lengths - 2, lengths))

    def cases(self, part: Part) -> Cases:
        """The validation or test cases.

        Raises:
            InputError: The part is neither "valid" nor "test".
        """
        if part not in ("valid", "test"):
            raise unknown("split", part, ["valid", "test"])
        held_out = 2 if part == "valid" else 1
        users = np.flatnonzero(self.log.lengths >= 3).astype(np.int64)
        targets = self.log.items[self.log.offsets[users + 1] - held_out]
        return Cases(users, self.log.select(users).without_last(held_out), targets)
