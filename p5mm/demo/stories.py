"""What the sheet and the report show: some shoppers, and what becomes of new items."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from p5mm.data.histories import Histories
from p5mm.data.split import Cases
from p5mm.metrics.ranker import Ranker
from p5mm.pages.stories import NewItem, Shopper

BATCH = 256


def shopper_stories(
    ranker: Ranker, cases: Cases, user_ids: Sequence[str], item_ids: Sequence[str], n: int, k: int
) -> list[Shopper]:
    """The best ``k`` items for the first hits and the first misses, ``n`` shoppers in all."""
    first = np.arange(min(BATCH, len(cases)))
    histories = cases.histories.select(first)
    best = np.argsort(-unseen_scores(ranker, histories), axis=1, kind="stable")[:, :k]
    hit = (best == cases.targets[first, None]).any(axis=1)
    hits = np.flatnonzero(hit)[: max(n // 2, n - int((~hit).sum()))]
    misses = np.flatnonzero(~hit)[: n - len(hits)]
    return [
        Shopper(
            user_ids[cases.users[row]],
            [item_ids[item] for item in histories[row]],
            [item_ids[item] for item in best[row]],
            item_ids[cases.targets[row]],
        )
        for row in np.sort(np.concatenate([hits, misses])).tolist()
    ]


def unseen_scores(ranker: Ranker, histories: Histories) -> NDArray[np.float32]:
    """Scores ``[b, n]`` of the whole catalog, -inf for what was taken already."""
    users = np.arange(len(histories), dtype=np.int64)
    parts = [
        ranker.scores(histories.select(users[start : start + BATCH]))
        for start in range(0, len(users), BATCH)
    ]
    scores = np.concatenate(parts).astype(np.float32)
    scores[np.repeat(users, histories.lengths), histories.items] = -np.inf
    return scores


def places(scores: NDArray[np.float32], items: NDArray[np.int64]) -> NDArray[np.int64]:
    """``[users, items]`` how many items each shopper is offered before each of these."""
    return np.stack([(scores > scores[:, [item]]).sum(axis=1) for item in items], axis=1)


def new_item_stories(
    new: Sequence[tuple[str, Sequence[str]]],
    ranks: NDArray[np.int64],
    log: Histories,
    user_ids: Sequence[str],
    item_ids: Sequence[str],
    shoppers: int = 3,
) -> list[NewItem]:
    """The shoppers who would be offered each new item first.

    Args:
        new: Each new item's id and its nearest sold items.
        ranks: ``[users, len(new)]`` from `places`.
        log: Whole histories of all shoppers.
        user_ids: Ids of the shoppers.
        item_ids: Ids of the items.
        shoppers: How many to name.
    """
    first = np.argsort(ranks, axis=0, kind="stable")[:shoppers]
    return [
        NewItem(
            item_id,
            nearest,
            [
                Shopper(user_ids[user], [item_ids[item] for item in log[user][-7:]], [])
                for user in first[:, column].tolist()
            ],
        )
        for column, (item_id, nearest) in enumerate(new)
    ]
