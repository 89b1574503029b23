"""What bringing an index up to a catalog will cost, told before it starts."""

import time
from collections.abc import Sequence

from p5mm.data.catalog import Catalog
from p5mm.encoders.encode import as_files
from p5mm.encoders.store import FeatureStore
from p5mm.encoders.values.content import content_keys
from p5mm.encoders.values.cost import Cost, sample_of
from p5mm.encoders.values.loading import load_ahead
from p5mm.encoders.values.several import flattened
from p5mm.indexing.encode import Tower


def costs(catalog: Catalog, towers: Sequence[Tower], store: FeatureStore) -> list[Cost]:
    """The cost of encoding a catalog, by each encoder; a few values are encoded, none is kept."""
    return [_cost(catalog, tower, store) for tower in towers]


def _cost(catalog: Catalog, tower: Tower, store: FeatureStore) -> Cost:
    encoder = tower.encoder
    every = flattened(tower.raws(catalog)[0])[0] if len(catalog) else []
    raws = [raw for raw in every if raw is not None]
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
    sample = sample_of(rows)
    for some in (sample[:1], sample):  # the first makes the encoder warm
        start = time.perf_counter()
        for batch in load_ahead(tower.encoder, raws, some, len(sample), 0):
            if batch.values:
                tower.encoder.encode(batch.values)
    return (time.perf_counter() - start) / len(sample) * len(rows)
