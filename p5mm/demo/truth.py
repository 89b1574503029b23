"""What the taste model knows: the best that can be done, and who truly wants what is new."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from p5mm.data.histories import Histories
from p5mm.data.split import Cases
from p5mm.demo.shoppers import Floats, Ints, Shop
from p5mm.metrics.intervals import Interval, intervals
from p5mm.metrics.ranks import expected_ranks, metrics_per_user

OFFERED = 20
"""To how many shoppers a new item is offered when its lift is measured."""


@dataclass(frozen=True)
class Lift:
    """How much more the shoppers offered a new item want it than the average shopper does.

    Attributes:
        model: Mean ratio over the new items, shoppers chosen by the model.
        perfect: The same, shoppers chosen by the truth; chance gives 1.
    """

    model: float
    perfect: float


def utilities_after(shop: Shop, users: Ints, histories: Histories) -> Floats:
    """True utilities ``[b, n]`` of the next sticker after these histories."""
    ends = histories.offsets[1:]
    last = np.where(histories.lengths > 0, np.append(histories.items, -1)[ends - 1], -1)
    return shop.utilities(users, last, histories.lengths)


def oracle_metrics(shop: Shop, cases: Cases, rows: Ints, seed: int) -> dict[str, Interval]:
    """Metrics of a ranker that knows every shopper's taste: the ceiling for all models.

    Args:
        shop: The truth.
        cases: What is asked, in numbers of ``rows``.
        rows: ``[m]`` stickers that are ranked.
        seed: Seed of the intervals.
    """
    whole = replace(cases.histories, items=rows[cases.histories.items])
    scores = utilities_after(shop, cases.users, whole)[:, rows]
    per_user = metrics_per_user(expected_ranks(scores, cases.targets, cases.histories))
    means = intervals(np.stack(list(per_user.values()), axis=1), seed)
    return dict(zip(per_user, means, strict=True))


def new_item_lift(shop: Shop, log: Histories, ranks: NDArray[np.integer]) -> Lift:
    """What a picture is worth for items that nobody has taken yet.

    Args:
        shop: The truth.
        log: Whole histories of all shoppers.
        ranks: ``[users, new]`` the place of each new item in each shopper's recommendations.
    """
    wanted = _probabilities(shop, log)[:, shop.is_new]
    offered = np.argsort(ranks, axis=0, kind="stable")[:OFFERED]
    perfect = np.argsort(-wanted, axis=0, kind="stable")[:OFFERED]
    average = wanted.mean(axis=0)
    return Lift(
        model=float((np.take_along_axis(wanted, offered, axis=0).mean(axis=0) / average).mean()),
        perfect=float((np.take_along_axis(wanted, perfect, axis=0).mean(axis=0) / average).mean()),
    )


def _probabilities(shop: Shop, log: Histories) -> Floats:
    """``[users, n]`` probability of each sticker to be taken next, were the new ones sold too."""
    users = np.arange(len(log), dtype=np.int64)
    odds = np.exp(utilities_after(shop, users, log))
    odds[np.repeat(users, log.lengths), log.items] = 0
    probabilities: Floats = odds / odds.sum(axis=1, keepdims=True)
    return probabilities
