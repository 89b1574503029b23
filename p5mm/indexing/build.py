"""From a catalog to the folder of its index."""

import logging
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from p5mm.cluster import Cluster
from p5mm.config import EncoderConfig
from p5mm.data.catalog import Catalog
from p5mm.encoders.alignment import MIN_PAIRS, SIDES
from p5mm.encoders.base import Features
from p5mm.encoders.build import has_text_tower
from p5mm.encoders.store import FeatureStore
from p5mm.encoders.values.cost import Cost
from p5mm.errors import InputError, counted, shown
from p5mm.indexing.catalog_index import CatalogIndex
from p5mm.indexing.change import Change
from p5mm.indexing.cost import costs
from p5mm.indexing.encode import catalog_encoders
from p5mm.indexing.status import index_status
from p5mm.indexing.storage.folder import (
    IndexRows,
    check_target,
    read_index_rows,
    write_index,
)
from p5mm.indexing.storage.manifest import VIEWS
from p5mm.indexing.update import Update, encoded, planned, write_update
from p5mm.steady import replaced_in_turn

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
    index_kind: str | None = None,
) -> Change:
    """Encode a catalog and write its index; of an index that is there, what has changed.

    Args:
        catalog: The items.
        out: The index folder; new, empty, or an index to bring up to the catalog.
        encoders: What makes the vectors.
        align: Whether to train the heads that let text find pictures.
        force: Replace whatever is in ``out``; let the catalog lack nearly all of its items.
        cluster: Where the catalog is encoded; here where None.
        index_kind: auto (by size), exact, ivf, hnsw, ivf-fp16, ivf-sq8, or the memory that faiss
            may take, such as 2GB; None keeps an index's kind.

    Returns:
        What has changed.

    Raises:
        InputError: As the message says.
    """
    start = time.perf_counter()
    check_target(out, force)
    if align:
        check_pairs(catalog)
    towers, store = catalog_encoders(catalog, encoders), FeatureStore()

    def prepare() -> Callable[[], Change]:
        update = planned(catalog, out, towers, force, index_kind)
        _tell_change(update.change)
        features = encoded(update, towers, encoders, store, cluster)
        return partial(_written, update, features, out, force)

    change = replaced_in_turn(out, prepare)
    if align:
        _align_too(out)
    log.info("%s: done in %.1f s", out, time.perf_counter() - start)
    return change


def foreseen(
    catalog: Catalog,
    out: str | Path,
    encoders: EncoderConfig,
    force: bool = False,
    index_kind: str | None = None,
) -> tuple[Change, list[Cost]]:
    """What `build_index` would change, and what it would cost; nothing is written.

    Raises:
        InputError: As `build_index`.
    """
    check_target(out, force)
    towers = catalog_encoders(catalog, encoders)
    update = planned(catalog, out, towers, force, index_kind)
    _tell_recased(update.change)
    return update.change, costs(update.part, towers, FeatureStore())


def align_index(folder: str | Path, seed: int = 0) -> None:
    """Train the heads of an index that is there, and write it whole.

    Raises:
        InputError: It is no index, has no pictures or texts, or too few items with both.
    """

    def prepare() -> Callable[[], None]:
        made = aligned(CatalogIndex.load(folder), seed)
        return partial(write_index, made, folder)

    replaced_in_turn(folder, prepare)


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


def _written(update: Update, features: list[Features], out: str | Path, force: bool) -> Change:
    """Write an update, unless it changes nothing; say what the index holds now."""
    if update:
        write_update(update, features, out, force)
    rows = read_index_rows(out)
    log.info("%s", _summary(rows))
    _tell_kind(out)
    _tell_alignment(rows)
    return update.change


def _tell_kind(out: str | Path) -> None:
    """Say what a kind that was asked for has become."""
    about = index_status(out)
    if about["index_kind"] == "auto":
        return
    for segment in about["segments"]:
        for name, view in segment["views"].items():
            log.info(
                "index %s: %s is %s, %.3g MB, recall@100 %.3f",
                about["index_kind"],
                name,
                view["index"],
                view["bytes"] / 1e6,
                view["recall@100"],
            )


def _tell_change(change: Change) -> None:
    log.info("%s", change)
    _tell_recased(change)


def _tell_recased(change: Change) -> None:
    if change.recased:
        some = ", ".join(map(shown, change.recased[:5]))
        log.warning(
            "%s new in case alone: %s; what had the old case is removed",
            counted(len(change.recased), "id is", "ids are"),
            some,
        )


def _align_too(out: str | Path) -> None:
    try:
        align_index(out)
    except InputError as error:
        raise InputError(f"{out} is made, but not aligned: {error}") from error


def _tell_alignment(rows: IndexRows) -> None:
    if rows.alignment is None:
        return
    trained_on = rows.alignment.report.pairs
    pairs = int(np.logical_and(*(rows.present[side] for side in SIDES)).sum())
    log.info("the alignment is kept (trained on %s)", counted(trained_on, "pair"))
    if abs(pairs - trained_on) > WORTH_ALIGNING * trained_on:
        log.warning(
            "the catalog has %s now, and %d when it was aligned; "
            "p5mm align INDEX trains the alignment anew",
            counted(pairs, "pair"),
            trained_on,
        )


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


def _summary(rows: IndexRows) -> str:
    catalog, made = rows.catalog, rows.manifest.encoders
    views = {view for segment in rows.manifest.segments for view in segment.views}
    counts = ", ".join(counted(of.items, f"{name} vector") for name, of in made.items())
    searched = ", ".join(name for name in VIEWS if name in views) or "item"
    lines = [f"{counted(len(catalog), 'item')}: {counts}; searched by {searched}"]
    if "text" not in views and "image" in views and has_text_tower(made["image"].spec):
        lines.append(f"words find pictures by the text tower of {made['image'].spec}")
    if catalog.text and "text" in made:
        lines.append(f"text is made of: {', '.join(catalog.text)}")
    empty = int((~np.logical_or.reduce(list(rows.present.values()))).sum())
    if empty:
        lines.append(f"found by no search: {counted(empty, 'item')} without any vector")
    if rows.quarantine:
        values = counted(len(rows.quarantine), "value")
        lines.append(f"{values} in quarantine (quarantine.parquet), first:")
        lines += [f"  {bad.item_id} ({bad.modality}): {bad.reason}" for bad in rows.quarantine[:5]]
    return "\n".join(lines)
