"""What encoding will cost, told by a sample before it starts."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from p5mm.data.catalog import Catalog
from p5mm.encoders.encode import as_files, load_ahead
from p5mm.encoders.store import FeatureStore, content_keys
from p5mm.indexing.encode import Tower

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


def costs(catalog: Catalog, towers: Sequence[Tower], store: FeatureStore) -> list[Cost]:
    """The cost of encoding a catalog, by each encoder; a few values are encoded, none is kept."""
    return [_cost(catalog, tower, store) for tower in towers]


def _cost(catalog: Catalog, tower: Tower, store: FeatureStore) -> Cost:
    encoder = tower.encoder
    raws = [raw for raw in tower.raws(catalog)[0] if raw is not None] if len(catalog) else []
    if getattr(encoder, "reads_files", False):
        raws = as_files(raws)
    keys = content_keys(raws)
    first = {key if key is not None else row: row for row, key in enumerate(keys)}
    kept = [row for row in first.values() if keys[row] is not None]
    asked = [key for row in kept if (key := keys[row]) is not None]
    there = store.holds(encoder.fingerprint, encoder.dim, asked)
    known = {row for row, is_there in zip(kept, there, strict=True) if is_there}
    left = sorted(row for row in first.values() if row not in known)
    return Cost(encoder.modality, len(known), len(left), _seconds(tower, raws, left))


def _seconds(tower: Tower, raws: Sequence[object], rows: list[int]) -> float:
    if not rows:
        return 0.0
    places = np.linspace(0, len(rows) - 1, min(SAMPLE, len(rows))).astype(int)
    sample = [rows[place] for place in dict.fromkeys(places.tolist())]
    for some in (sample[:1], sample):  # the first makes the encoder warm
        start = time.perf_counter()
        for batch in load_ahead(tower.encoder, raws, some, len(sample), 0):
            if batch.values:
                tower.encoder.encode(batch.values)
    return (time.perf_counter() - start) / len(sample) * len(rows)


def _spoken(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
