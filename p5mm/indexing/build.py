"""From a catalog to the folder of its index."""

import logging
import time
from pathlib import Path

from p5mm.config import EncoderConfig
from p5mm.data.catalog import Catalog
from p5mm.encoders.store import FeatureStore
from p5mm.indexing.catalog_index import CatalogIndex
from p5mm.indexing.encode import encode_catalog
from p5mm.indexing.folder import check_target

log = logging.getLogger(__name__)


def build_index(
    catalog: Catalog, out: str | Path, encoders: EncoderConfig, align: bool = False
) -> CatalogIndex:
    """Encode a catalog and write its index.

    Args:
        catalog: The items.
        out: The index folder; new, empty, or an index to replace.
        encoders: What makes the vectors.
        align: Whether to train the heads that let text find pictures.

    Raises:
        InputError: As the message says.
    """
    start = time.perf_counter()
    check_target(out)
    features = encode_catalog(catalog, encoders, FeatureStore())
    index = CatalogIndex.build(catalog, features)
    if align:
        index = aligned(index)
    index.save(out)
    log.info("%s", _summary(index))
    log.info("%s: done in %.1f s", out, time.perf_counter() - start)
    return index


def aligned(index: CatalogIndex, seed: int = 0) -> CatalogIndex:
    """The index with a view in which text finds pictures; says what that is worth.

    Raises:
        InputError: The index has no pictures or texts, or too few items with both.
    """
    log.info("aligning pictures and texts (seconds for a thousand pairs)")
    made = index.align(seed)
    if made.alignment is not None:
        log.info("%s", made.alignment.report)
    return made


def _summary(index: CatalogIndex) -> str:
    counts = ", ".join(
        f"{int(one.present.sum()):,} {one.modality} vectors" for one in index.features.values()
    )
    lines = [f"{len(index.catalog):,} items: {counts}; searched by {', '.join(index.views)}"]
    empty = len(index.catalog) - int(index.present.sum())
    if empty:
        lines.append(f"{empty:,} items without any vector are found by no search")
    if index.quarantine:
        lines.append(f"{len(index.quarantine):,} values in quarantine (quarantine.parquet), first:")
        lines += [f"  {bad.item_id} ({bad.modality}): {bad.reason}" for bad in index.quarantine[:5]]
    return "\n".join(lines)
