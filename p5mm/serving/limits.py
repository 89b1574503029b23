"""Who may be shown what: items for everybody, and for each user."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from p5mm.data.histories import Histories
from p5mm.data.users import Users
from p5mm.errors import InputError
from p5mm.indexing.where import rows_where
from p5mm.serving.requests import Ids, Requests, item_lists

LISTS = ("list of what may be shown", "lists of what may be shown")  # in messages
Lists = Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class Limits:
    """Which items may be recommended.

    Attributes:
        allow: The only ids that anybody may get; None for all.
        deny: Ids that nobody may get.
        allow_each: The only ids that some users may get.
        deny_each: Ids that some users may not get.
        where: A condition on columns of the catalog that all must fulfil, such as
            ``category == 'Shoes'``; see `p5mm.indexing.where`.
    """

    allow: Sequence[str] | None = None
    deny: Sequence[str] = ()
    allow_each: Lists = field(default_factory=dict)
    deny_each: Lists = field(default_factory=dict)
    where: str | None = None

    def rows(self, model: Users, strict: bool) -> NDArray[np.int64] | None:
        """Catalog rows ``[m]``, ascending, that anybody may get; None for all.

        Raises:
            InputError: An item is unknown and ``strict``, the condition cannot be read, or
                nothing is left.
        """
        if self.allow is None and not self.deny and self.where is None:
            return None
        free = np.full(len(model.catalog), self.allow is None)
        for known, ids, wanted in (
            (model.offered, self.allow or (), True), (model.catalog.rows, self.deny, False),
        ):  # fmt: skip
            free[item_lists(known, [ids], strict, LISTS).items] = wanted
        if self.where is not None:
            free &= np.isin(np.arange(len(free)), rows_where(model.catalog.table, self.where))
        offered = np.fromiter(model.offered.values(), np.int64)
        free &= np.isin(np.arange(len(free)), offered)
        if not free.any():
            raise InputError("nothing may be recommended: allow, deny and where leave no item")
        return np.flatnonzero(free)

    def never(self, model: Users, asked: Requests, strict: bool) -> Histories | None:
        """Catalog rows that each may not get, beside what all may not; None for none."""
        if not self.deny_each and asked.deny is None:
            return None
        own = asked.deny or [None] * len(asked)
        lists = [
            [*self.deny_each.get(name, ()), *(ids or ())]
            for name, ids in zip(asked.names, own, strict=True)
        ]
        return item_lists(model.catalog.rows, lists, strict, LISTS)

    def only(
        self, model: Users, asked: Requests, strict: bool
    ) -> tuple[NDArray[np.bool_], Histories]:
        """Whether each has a list of what alone it may get, ``[b]``, and these catalog rows."""
        own = asked.allow or [None] * len(asked)
        lists = [
            _in_both(self.allow_each.get(name), ids)
            for name, ids in zip(asked.names, own, strict=True)
        ]
        there = np.array([ids is not None for ids in lists], dtype=np.bool_)
        unique = [list(dict.fromkeys(ids or ())) for ids in lists]
        return there, item_lists(model.offered, unique, strict, LISTS)


def _in_both(one: Ids, other: Ids) -> Ids:
    """What two lists allow together; None allows all."""
    if one is None or other is None:
        return other if one is None else one
    allowed = set(other)
    return [item for item in one if item in allowed]
