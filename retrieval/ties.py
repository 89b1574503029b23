"""Scores that arithmetic cannot tell apart: their items stand in the order of their rows."""

import numpy as np
from numpy.typing import NDArray

MARGIN = 16  # what more is looked at than is wanted, so that ties at the end are settled too
NEAR = 2e-5  # how far a network's tied scores lie apart at most, by sums in another order,
FAR = 1.5e-7  # and what share of themselves, by the digits that float32 has


def settle(rows: NDArray[np.int64], scores: NDArray[np.float32]) -> None:
    """Sorts the rows of a network's tied scores ``[b, n]``, in place; see ``order_ties``."""
    order_ties(rows, scores, NEAR + FAR * np.abs(scores[:, :-1]))


def order_ties(
    rows: NDArray[np.int64], scores: NDArray[np.float32], near: float | NDArray[np.floating]
) -> None:
    """Sorts the rows of tied scores, in place; the scores stay where they are.

    Equal vectors get scores that differ in their last digits, by how many were multiplied at once
    and by how many threads. Scores follow one another as tied while each is near the next.

    Args:
        rows: ``[b, n]`` of the scores.
        scores: ``[b, n]`` falling along a line; minus infinity is tied with nothing.
        near: How far tied scores lie apart at most, to be broadcast to ``[b, n - 1]``.
    """
    with np.errstate(invalid="ignore"):  # of two infinities
        close = scores[:, :-1] - scores[:, 1:] <= near
    if not close.any():
        return
    follows = np.zeros(rows.shape, np.bool_)  # whether a row is tied with the one before
    follows[:, 1:] = close
    tied = follows.copy()
    tied[:, :-1] |= close
    # The numbers of the groups rise, so that they and the rows make one key to sort by.
    own = rows[tied]
    groups = np.cumsum(~follows[tied]) * (int(own.max()) + 1)
    own += groups
    own.sort()
    rows[tied] = own - groups
