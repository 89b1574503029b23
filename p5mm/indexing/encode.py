"""A catalog's features: every modality that it has and the settings want."""

import logging

from p5mm.config import EncoderConfig
from p5mm.data.catalog import Catalog
from p5mm.encoders.base import Encoder, Features
from p5mm.encoders.build import make_encoder
from p5mm.encoders.encode import encode_items
from p5mm.encoders.store import FeatureStore

NONE = "none"

log = logging.getLogger(__name__)


def encode_catalog(
    catalog: Catalog, config: EncoderConfig, store: FeatureStore | None
) -> list[Features]:
    """Features of each modality, by the store where the content is known.

    Raises:
        InputError: An encoder cannot be made, or breaks its contract.
    """
    towers = {"image": config.image, "text": config.text}
    wanted: list[tuple[str, str | None]] = [
        (spec, name) for name, spec in towers.items() if spec != NONE and name in catalog.fields
    ]
    wanted += [(spec, None) for spec in config.others]
    # All of them first: a name that is misspelt is told before hours of work, not after.
    made = [(make_encoder(spec, name), spec) for spec, name in wanted]
    return [_encode(catalog, encoder, spec, config.workers, store) for encoder, spec in made]


def _encode(
    catalog: Catalog, encoder: Encoder, spec: str, workers: int, store: FeatureStore | None
) -> Features:
    raws = catalog.raw(getattr(encoder, "source", encoder.modality))
    given = sum(raw is not None for raw in raws)
    log.info("%s: %s of %s items by %s", encoder.modality, f"{given:,}", f"{len(raws):,}", spec)
    processes = None if workers < 0 else workers
    return encode_items(encoder, spec, raws, store, workers=processes)
