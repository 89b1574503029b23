"""Whether item numbers were made in the order of held-out data, so that they give answers away."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from p5mm.data.histories import Histories
from p5mm.data.split import Cases, Split

DRAWS = 99  # one observation above all draws has p = .01
LEAST, TIMES, SHARE = 5, 3, 0.005  # hits, times the expected, share of the cases


@dataclass(frozen=True)
class Count:
    """How often a rule gives the target, and how often it would under random numbers.

    Attributes:
        hits: Targets that the rule gives and that training histories do not explain.
        cases: Targets in all.
        expected: Mean hits of random renumberings.
        most: Most hits of a random renumbering.
    """

    hits: int
    cases: int
    expected: float
    most: int

    @property
    def suspicious(self) -> bool:
        """Far more often than chance."""
        enough = max(LEAST, TIMES * self.expected, SHARE * self.cases)
        return self.hits > self.most and self.hits >= enough


def follows_held_out(
    split: Split, cases: Cases, numbers: NDArray[np.int64] | None = None, seed: int = 0
) -> dict[str, Count]:
    """How often the target has the number after the last item's, or after the highest seen.

    P5 and VIP5 number items in order of first appearance over whole sequences, so a new item of a
    user is max(seen) + 1. Pairs that some training history holds together are not counted: to
    number by training data gives nothing away: such neighbours can be learned from it.

    Args:
        split: Its training part explains neighbours.
        cases: What is asked.
        numbers: ``[n_items]``, all different; only their order matters. The rows where None.
        seed: Of the renumberings.
    """
    n_items = int(split.log.items.max(initial=-1)) + 1
    if numbers is None:
        numbers = np.arange(n_items)
    places = np.empty(len(numbers), np.int64)
    places[np.argsort(numbers, kind="stable")] = np.arange(len(numbers))
    asked = cases.histories.lengths > 0
    histories = cases.histories.select(np.flatnonzero(asked))
    targets = cases.targets[asked]
    takers = _takers(split.train, len(numbers))
    rng = np.random.default_rng(seed)
    observed = _hits(histories, targets, places, takers)
    drawn = np.array(
        [_hits(histories, targets, rng.permutation(places), takers) for _ in range(DRAWS)]
    )
    rules = ("the number after the last item's", "the number after the highest in the history")
    return {
        rule: Count(hits, len(targets), float(under.mean()), int(under.max()))
        for rule, hits, under in zip(rules, observed, drawn.T, strict=True)
    }


def id_numbers(item_ids: Sequence[str]) -> NDArray[np.int64]:
    """``[n]`` the numbers that ids are, or where an id is no number, the places of the ids.

    Example:
        >>> id_numbers(["1", "10", "2"]).tolist(), id_numbers(["tea", "cup"]).tolist()
        ([1, 10, 2], [0, 1])
    """
    if all(item.isascii() and item.isdigit() and len(item) < 19 for item in item_ids):
        return np.array([int(item) for item in item_ids], dtype=np.int64)
    return np.arange(len(item_ids))


def _takers(train: Histories, n_items: int) -> sp.csc_matrix:
    """``[users, n_items]``, True where a training history holds an item."""
    entries = (np.ones(len(train.items), np.bool_), train.items, train.offsets)
    return sp.csr_matrix(entries, shape=(len(train), n_items)).tocsc()


def _hits(
    histories: Histories,
    targets: NDArray[np.int64],
    places: NDArray[np.int64],
    takers: sp.csc_matrix,
) -> tuple[int, int]:
    """Unexplained targets right after the last item, and right after the highest."""
    item_at = np.argsort(places)
    last = histories.items[histories.offsets[1:] - 1]
    highest = item_at[np.maximum.reduceat(places[histories.items], histories.offsets[:-1])]
    after_last, after_highest = (_unexplained(i, targets, places, takers) for i in (last, highest))
    return after_last, after_highest


def _unexplained(
    items: NDArray[np.int64],
    targets: NDArray[np.int64],
    places: NDArray[np.int64],
    takers: sp.csc_matrix,
) -> int:
    hit = places[targets] == places[items] + 1
    together = takers[:, items[hit]].multiply(takers[:, targets[hit]])
    return int(hit.sum() - np.count_nonzero(together.getnnz(axis=0)))
