"""What pages and sheets show: shoppers, searches, new items."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Shopper:
    """One shopper's story: items taken (oldest first), recommended (best first), truly next.

    ``rank`` is the place of the truth in the whole ranking, from 1, where it is known.
    """

    user_id: str
    history: Sequence[str]
    recommended: Sequence[str]
    truth: str | None = None
    rank: float | None = None


@dataclass(frozen=True)
class Search:
    """One search; ``query`` is the words for kind "text", else the id of an item."""

    kind: str
    query: str
    hits: Sequence[str]


@dataclass(frozen=True)
class NewItem:
    """An item nobody has taken yet: its nearest sold items and the shoppers who would get it."""

    item_id: str
    nearest: Sequence[str]
    shoppers: Sequence[Shopper]
