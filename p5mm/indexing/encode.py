"""A catalog's features: every modality that it has and the settings want."""

import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
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
from p5mm.errors import InputError, counted

NONE = "none"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Tower:
    """An encoder, the spec that it was made of, and what makes it again elsewhere."""

    spec: str
    encoder: Encoder
    make: Callable[[], Encoder]

    @property
    def source(self) -> str | tuple[str, ...]:
        """The catalog's field that it reads, or several columns."""
        source = getattr(self.encoder, "source", self.encoder.modality)
        return source if isinstance(source, str) else tuple(source)

    def raws(self, catalog: Catalog) -> tuple[list[Any | None], list[Quarantined]]:
        """One value an item of the field that it reads, and what is refused of them.

        Raises:
            InputError: It reads files, and the catalog does not say below which folder.
        """
        raws = catalog.raw(self.source)
        reads_files = getattr(self.encoder, "reads_files", False)
        if not reads_files or not any(isinstance(raw, str) for raw in raws):
            return raws, []
        if catalog.images is None:
            raise InputError(
                f"the {self.encoder.modality} encoder reads the files that the column "
                f"'{self.source}' names; say below which folder they are with --images DIR"
            )
        paths, refused = column_pictures(
            pa.chunked_array([pa.array(raws, pa.string())]), catalog.images
        )
        return list(paths), [Quarantined(row, reason) for row, reason in refused]


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
    towers = catalog_encoders(catalog, config, origin=origin, allowed=allowed)
    features = encode_by(towers, catalog, config, store, cluster)
    check_any(catalog, towers, features)
    return features


def catalog_encoders(
    catalog: Catalog,
    config: EncoderConfig,
    *,
    origin: str | None = None,
    allowed: Collection[str] = (),
) -> list[Tower]:
    """The encoders of the modalities that a catalog has; see `encode_catalog`.

    Raises:
        InputError: One cannot be made, or may not come from where it does.
    """
    towers = {"image": config.image, "text": config.text}
    wanted: list[tuple[str, str | None]] = [
        (spec, name) for name, spec in towers.items() if spec != NONE and name in catalog.fields
    ]
    wanted += [(spec, None) for spec in config.others]
    # All are made before the first encodes: a misspelt one is told at once.
    making = [
        (spec, partial(make_encoder, absolute_spec(spec), name, origin=origin, allowed=allowed))
        for spec, name in wanted
    ]
    return [Tower(spec, make(), make) for spec, make in making]


def encode_by(
    towers: Sequence[Tower],
    catalog: Catalog,
    config: EncoderConfig,
    store: FeatureStore | None,
    cluster: Cluster | None = None,
    prepared: bool = False,
) -> list[Features]:
    """Features of each modality by encoders that are made already.

    Args:
        towers: The encoders.
        catalog: The items.
        config: How many threads load, and how long one value may take.
        store: Where vectors are looked up and kept.
        cluster: Where what the store does not know is encoded; here where None.
        prepared: Whether the encoders have seen the values of a larger catalog than this.

    Raises:
        InputError: An encoder breaks its contract.
    """
    return [_encode(catalog, tower, config, store, cluster, prepared) for tower in towers]


def check_any(catalog: Catalog, towers: Sequence[Tower], features: Sequence[Features]) -> None:
    """Refuse a modality of which values were given and not a single one could be used.

    Raises:
        InputError: There is one.
    """
    for tower, made in zip(towers, features, strict=True):
        reasons = [(catalog.item_ids[bad.row], bad.reason) for bad in made.quarantine]
        if tower.source == "image":
            reasons += catalog.quarantine  # pictures that were named, and are not there
        if made.present.any() or not reasons:
            continue
        some = "; ".join(f"{item}: {reason}" for item, reason in reasons[:3])
        raise InputError(
            f"none of the {len(reasons):,} {made.modality} values could be used ({some}). Mend "
            f"them, or leave the modality '{made.modality}' out (--image-encoder none, "
            "--text-encoder none, or no --encoder for it)"
        )


def _encode(
    catalog: Catalog,
    tower: Tower,
    config: EncoderConfig,
    store: FeatureStore | None,
    cluster: Cluster | None,
    prepared: bool,
) -> Features:
    encoder = tower.encoder
    raws, refused = tower.raws(catalog)
    given = sum(raw is not None for raw in raws)
    items = counted(len(raws), "item")
    log.info("%s: %s of %s by %s", encoder.modality, f"{given:,}", items, tower.spec)
    threads = None if config.workers < 0 else config.workers
    elsewhere = None
    if cluster is not None and can_travel(encoder, raws):
        elsewhere = Distributed(cluster, tower.make, max(0, config.workers), config.load_seconds)
    features = encode_items(
        encoder,
        absolute_spec(tower.spec),
        raws,
        store,
        workers=threads,
        elsewhere=elsewhere,
        prepared=prepared,
        seconds=config.load_seconds,
    )
    broken = sorted([*features.quarantine, *refused], key=lambda value: value.row)
    return replace(features, quarantine=tuple(broken))
