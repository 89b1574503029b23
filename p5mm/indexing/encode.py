"""A catalog's features: every modality that it has and the settings want."""

import logging
from collections.abc import Callable, Collection
from dataclasses import replace
from functools import partial
from typing import Any

import pyarrow as pa

from p5mm.cluster import Cluster
from p5mm.config import EncoderConfig
from p5mm.data.catalog import Catalog
from p5mm.data.pictures import column_pictures
from p5mm.encoders.base import Encoder, Features, Quarantined
from p5mm.encoders.build import absolute_spec, make_encoder
from p5mm.encoders.distributed import Distributed, can_travel
from p5mm.encoders.encode import encode_items
from p5mm.encoders.store import FeatureStore
from p5mm.errors import InputError

NONE = "none"

log = logging.getLogger(__name__)


def encode_catalog(
    catalog: Catalog,
    config: EncoderConfig,
    store: FeatureStore | None,
    *,
    origin: str | None = None,
    allowed: Collection[str] = (),
    cluster: Cluster | None = None,
) -> list[Features]:
    """Features of each modality, by the store where the content is known.

    Args:
        catalog: The items.
        config: Which encoders.
        store: Where vectors are looked up and kept.
        origin: The folder that the config was read from, where it was not the user who named the
            encoders; see `p5mm.encoders.build.make_encoder`.
        allowed: Specs that the user named for this call (``--trust SPEC``).
        cluster: Where what the store does not know is encoded; here where None.

    Raises:
        InputError: An encoder cannot be made, may not come from where it does, breaks its
            contract, or could not use a single one of the values that it was given.
    """
    towers = {"image": config.image, "text": config.text}
    wanted: list[tuple[str, str | None]] = [
        (spec, name) for name, spec in towers.items() if spec != NONE and name in catalog.fields
    ]
    wanted += [(spec, None) for spec in config.others]
    # All are made before the first encodes: a misspelt one is told at once.
    made = [
        (spec, partial(make_encoder, absolute_spec(spec), name, origin=origin, allowed=allowed))
        for spec, name in wanted
    ]
    encoders = [make() for _, make in made]
    return [
        _encode(catalog, spec, encoder, config.workers, store, cluster, make)
        for (spec, make), encoder in zip(made, encoders, strict=True)
    ]


def _encode(
    catalog: Catalog,
    spec: str,
    encoder: Encoder,
    workers: int,
    store: FeatureStore | None,
    cluster: Cluster | None,
    make: Callable[[], Encoder],
) -> Features:
    raws, refused = _raw_values(catalog, encoder)
    given = sum(raw is not None for raw in raws)
    log.info("%s: %s of %s items by %s", encoder.modality, f"{given:,}", f"{len(raws):,}", spec)
    threads = None if workers < 0 else workers
    elsewhere = None
    if cluster is not None and can_travel(encoder, raws):
        elsewhere = Distributed(cluster, make, max(0, workers))
    features = encode_items(
        encoder, absolute_spec(spec), raws, store, workers=threads, elsewhere=elsewhere
    )
    broken = sorted([*features.quarantine, *refused], key=lambda value: value.row)
    features = replace(features, quarantine=tuple(broken))
    _check_any(catalog, encoder, features)
    return features


def _raw_values(catalog: Catalog, encoder: Encoder) -> tuple[list[Any | None], list[Quarantined]]:
    """One value an item of the field that the encoder reads, and what is refused of them."""
    source = getattr(encoder, "source", encoder.modality)
    raws = catalog.raw(source)
    if not getattr(encoder, "reads_files", False) or not any(isinstance(r, str) for r in raws):
        return raws, []
    if catalog.images is None:
        raise InputError(
            f"the {encoder.modality} encoder reads the files that the column '{source}' names; "
            "say below which folder they are with --images DIR"
        )
    paths, refused = column_pictures(
        pa.chunked_array([pa.array(raws, pa.string())]), catalog.images
    )
    return list(paths), [Quarantined(row, reason) for row, reason in refused]


def _check_any(catalog: Catalog, encoder: Encoder, features: Features) -> None:
    """Refuse a modality of which values were given and not a single one could be used."""
    reasons = [(catalog.item_ids[bad.row], bad.reason) for bad in features.quarantine]
    if getattr(encoder, "source", encoder.modality) == "image":
        reasons += catalog.quarantine  # pictures that were named, and are not there
    if features.present.any() or not reasons:
        return
    some = "; ".join(f"{item}: {reason}" for item, reason in reasons[:3])
    raise InputError(
        f"none of the {len(reasons):,} {features.modality} values could be used ({some}). Mend "
        f"them, or leave the modality '{features.modality}' out (--image-encoder none, "
        "--text-encoder none, or no --encoder for it)"
    )
