"""What encoding costs, as a sample tells it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

SAMPLE = 16  # values that are encoded to see how long one takes


@dataclass(frozen=True)
class Cost:
    """What one modality will cost.

    Attributes:
        modality: The name.
        known: Values whose vectors are in the feature store.
        values: Values that must be encoded; equal ones count once.
        seconds: About as long as that takes, by one thread that loads.
    """

    modality: str
    known: int
    values: int
    seconds: float

    def __str__(self) -> str:
        told = f"{self.modality}: {self.values:,} to encode"
        about = f", about {_spoken(self.seconds)}" if self.values else ""
        return told + about + (f"; {self.known:,} are in the feature store" if self.known else "")


def sample_of(rows: Sequence[int]) -> list[int]:
    """Some of the rows, evenly from the first to the last."""
    if not rows:
        return []
    places = np.linspace(0, len(rows) - 1, min(SAMPLE, len(rows))).astype(int)
    return [rows[place] for place in dict.fromkeys(places.tolist())]


def _spoken(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
