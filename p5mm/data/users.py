"""The users of a log: who they are, and what each took."""

from collections.abc import Mapping
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from p5mm.data.catalog import Catalog
from p5mm.data.histories import Histories
from p5mm.data.interactions import Interactions


class Users:
    """The users of a log whose items are in a catalog.

    Attributes:
        catalog: All items.
        log: Every interaction.
        deleted: Ids of items that are served no more; histories may hold them.
    """

    catalog: Catalog
    log: Interactions
    deleted: frozenset[str]

    @property
    def taken(self) -> Interactions:
        """All that users took: the log, and what has come since it was learned from."""
        return self.log

    @cached_property
    def offered(self) -> Mapping[str, int]:
        """The row of each item that may be recommended."""
        rows = self.catalog.rows
        return {item: rows[item] for item in rows if item not in self.deleted}

    @property
    def user_ids(self) -> list[str]:
        """Ids of the users of the log, in the order of their rows."""
        return self._known[0]

    @property
    def histories(self) -> Histories:
        """Everything that the users took, in catalog rows."""
        return self._known[1]

    @cached_property
    def user_rows(self) -> Mapping[str, int]:
        """The row of each user of the log."""
        return {user: row for row, user in enumerate(self.user_ids)}

    @cached_property
    def item_names(self) -> NDArray[np.object_]:
        """``[items]`` the ids of the items."""
        return np.array(self.catalog.item_ids, dtype=object)

    @cached_property
    def _known(self) -> tuple[list[str], Histories]:
        return self.taken.known(self.catalog.item_ids).histories(self.catalog.item_ids)
