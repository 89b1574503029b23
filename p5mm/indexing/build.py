"""From a catalog to the folder of its index."""

import logging
import time
from pathlib import Path

from p5mm.cluster import Cluster
from p5mm.config import EncoderConfig
from p5mm.data.catalog import Catalog
from p5mm.encoders.alignment import MIN_PAIRS, SIDES
from p5mm.encoders.build import has_text_tower
from p5mm.encoders.store import FeatureStore
from p5mm.errors import InputError
from p5mm.indexing.catalog_index import CatalogIndex
from p5mm.indexing.encode import encode_catalog
from p5mm.indexing.folder import check_target, is_index

WEAK = (
    "this alignment is too weak to be of use: half of the texts held out have more than a tenth of "
    "the pictures before their own. Words search the texts alone unless --view says otherwise. To "
    "find pictures by words index them with a CLIP (--image-encoder open_clip:MODEL/TAG, or "
    "hf:FOLDER), or align more pairs"
)
WORTH_ALIGNING = 0.1  # share of new or lost pairs from which a new alignment is advised

log = logging.getLogger(__name__)


def build_index(
    catalog: Catalog,
    out: str | Path,
    encoders: EncoderConfig,
    align: bool = False,
    force: bool = False,
    cluster: Cluster | None = None,
) -> CatalogIndex:
    """Encode a catalog and write its index.

    Args:
        catalog: The items.
        out: The index folder; new, empty, or an index to replace.
        encoders: What makes the vectors.
        align: Whether to train the heads that let text find pictures.
        force: Replace whatever is in ``out``.
        cluster: Where the catalog is encoded; here where None.

    Raises:
        InputError: As the message says.
    """
    start = time.perf_counter()
    check_target(out, force)
    if align:
        check_pairs(catalog)
    before = _before(out)
    features = encode_catalog(catalog, encoders, FeatureStore(), cluster=cluster)
    index = _kept_alignment(CatalogIndex.build(catalog, features), before)
    index.save(out, force)
    log.info("%s", _summary(index))
    if align:
        index = _aligned_too(index, out)
    log.info("%s: done in %.1f s", out, time.perf_counter() - start)
    return index


def check_pairs(catalog: Catalog) -> None:
    """See before any work whether there is enough to align pictures and texts by.

    Raises:
        InputError: Too few items have both.
    """
    sides = [catalog.raw(side) if side in catalog.fields else [] for side in SIDES]
    pairs = sum(None not in both for both in zip(*sides, strict=False))
    if pairs < MIN_PAIRS:
        raise InputError(
            f"--align needs {MIN_PAIRS} items with both a picture and a text; {pairs} of the "
            f"catalog's {len(catalog)} have both. Leave --align out, or give texts or pictures"
        )


def _before(out: str | Path) -> CatalogIndex | None:
    """The index that will be replaced; None where there is none that can be read."""
    if not is_index(out):
        return None
    try:
        return CatalogIndex.load(out)
    except InputError as error:
        log.warning("the index that was there is replaced, with its alignment if any: %s", error)
        return None


def _aligned_too(index: CatalogIndex, out: str | Path) -> CatalogIndex:
    try:
        made = aligned(index)
    except InputError as error:
        raise InputError(f"{out} is made, but not aligned: {error}") from error
    made.save(out)
    return made


def _kept_alignment(index: CatalogIndex, before: CatalogIndex | None) -> CatalogIndex:
    """The index with the alignment that the folder had before, where it still fits."""
    if before is None or before.alignment is None:
        return index
    marks = [
        [made.features[side].fingerprint if side in made.features else "" for side in SIDES]
        for made in (before, index)
    ]
    if marks[0] != marks[1]:
        log.warning(
            "the alignment of this index was of other encoders and is left out; "
            "p5mm align INDEX trains it anew"
        )
        return index
    trained_on = before.alignment.report.pairs
    pairs = int((index.features["image"].present & index.features["text"].present).sum())
    log.info("the alignment is kept (trained on %d pairs)", trained_on)
    if abs(pairs - trained_on) > WORTH_ALIGNING * trained_on:
        log.warning(
            "the catalog has %d pairs now, and %d when it was aligned; "
            "p5mm align INDEX trains the alignment anew",
            pairs,
            trained_on,
        )
    return index.with_alignment(before.alignment)


def aligned(index: CatalogIndex, seed: int = 0) -> CatalogIndex:
    """The index with a view in which text finds pictures; says what that is worth.

    Raises:
        InputError: The index has no pictures or texts, or too few items with both.
    """
    log.info("aligning pictures and texts (seconds for a thousand pairs)")
    made = index.align(seed)
    if made.alignment is not None:
        log.info("%s", made.alignment.report)
        if made.alignment.report.weak:
            log.warning("%s", WEAK)
    return made


def _summary(index: CatalogIndex) -> str:
    counts = ", ".join(
        f"{int(made.present.sum()):,} {made.modality} vectors" for made in index.features.values()
    )
    lines = [f"{len(index.catalog):,} items: {counts}; searched by {', '.join(index.views)}"]
    if "text" not in index.views and "image" in index.views:
        spec = index.features["image"].spec
        if has_text_tower(spec):
            lines.append(f"words find pictures by the text tower of {spec}")
    if index.catalog.text and "text" in index.features:
        lines.append(f"text is made of: {', '.join(index.catalog.text)}")
    empty = len(index.catalog) - int(index.present.sum())
    if empty:
        lines.append(f"{empty:,} items without any vector are found by no search")
    if index.quarantine:
        lines.append(f"{len(index.quarantine):,} values in quarantine (quarantine.parquet), first:")
        lines += [f"  {bad.item_id} ({bad.modality}): {bad.reason}" for bad in index.quarantine[:5]]
    return "\n".join(lines)
