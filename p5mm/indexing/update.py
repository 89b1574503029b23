"""An index brought up to a catalog: only what has changed is encoded, and only that is written."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from p5mm.cluster import Cluster
from p5mm.config import EncoderConfig
from p5mm.data.catalog import Catalog
from p5mm.encoders.alignment import SIDES, Alignment
from p5mm.encoders.base import Features
from p5mm.encoders.store import FeatureStore
from p5mm.encoders.values.several import flattened
from p5mm.errors import InputError, shown
from p5mm.indexing.catalog_index import CatalogIndex, slim
from p5mm.indexing.change import NEW, Change, changed, fit_together, places, told
from p5mm.indexing.encode import Tower, check_any, encode_by
from p5mm.indexing.storage.contents import IndexContents, joined
from p5mm.indexing.storage.folder import (
    SEGMENTS,
    IndexRows,
    check_target,
    read_index_rows,
    read_part,
    write_change,
    write_index,
)
from p5mm.indexing.storage.manifest import is_index, kind_of
from p5mm.indexing.storage.marks import Marks, marks_of
from p5mm.indexing.storage.remains import remains_of
from p5mm.indexing.storage.segment import views_size
from p5mm.retrieval.tuning import budget_of, check_kind

LEAST_KEPT = 0.1  # share of an index's items below which a catalog is taken for a mistake
MOST_SWALLOWED = 10_000  # items of a segment that a later one takes up

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Update:
    """What is to be done to bring an index up to a catalog.

    Attributes:
        change: In the items' own ids.
        before: What the index holds; None where it is made anew, whole.
        part: The items that are encoded: those added or changed.
        marks: Theirs.
        gone: ``[n]`` True for the rows of the index that are deleted: removed, or changed.
        alignment: That of the index, where it fits the encoders.
        index_kind: Of its views.
        stamps: Of each field some of whose files were touched, and read again, and are what they
            were: the stamps of all the index's items.
    """

    change: Change
    before: IndexRows | None
    part: Catalog
    marks: dict[str, Marks]
    gone: NDArray[np.bool_]
    alignment: Alignment | None
    index_kind: str
    stamps: dict[str, NDArray[np.int64]]

    def __bool__(self) -> bool:
        """Whether there is anything to write."""
        return self.before is None or bool(self.change or self.stamps)


def planned(
    catalog: Catalog,
    out: str | Path,
    towers: list[Tower],
    force: bool = False,
    index_kind: str | None = None,
) -> Update:
    """Compare a catalog with an index.

    Args:
        catalog: As it is now.
        out: Folder of the index, if there is one.
        towers: The encoders of the catalog's modalities.
        force: Whether nearly all items of the index may go.
        index_kind: Of the views; the kind that the index has where None.

    Raises:
        InputError: Nearly all of them would, and they may not; or the index is of a newer p5mm.
    """
    before = _before(catalog, out, force)
    kind = index_kind or (kind_of(out) if before is None else before.manifest.index_kind)
    check_kind(kind)
    place = np.full(len(catalog), NEW) if before is None else places(catalog, before.catalog)
    marks = {
        name: marks_of(raws, _known(before, name, place)) for name, raws in _fields(catalog, towers)
    }
    fits = before is not None and _goes_on(before, catalog, towers)
    whole = not fits or _is_of_another_kind(before, kind)
    if before is None:
        different = np.zeros(len(catalog), np.bool_)
    elif not fits:
        different = place != NEW
    else:
        different = changed(slim(catalog), marks, before, place)
    change = told(catalog, None if before is None else before.catalog, place, different)
    if before is not None and not force:
        _check_kept(change, len(before.catalog), out)
    rows = np.arange(len(catalog)) if whole else np.flatnonzero(different | (place == NEW))
    gone = np.ones(0 if before is None else len(before.catalog), np.bool_)
    same = (place != NEW) & ~different
    gone[place[same]] = False
    return Update(
        change,
        None if whole else before,
        catalog if whole else catalog.take(rows),
        {name: of.take(rows) for name, of in marks.items()},
        gone,
        None if before is None else _kept_alignment(before, towers),
        kind,
        {} if before is None or whole else _touched(before, marks, place, same),
    )


def encoded(
    update: Update,
    towers: list[Tower],
    config: EncoderConfig,
    store: FeatureStore,
    cluster: Cluster | None = None,
) -> list[Features]:
    """The features of what an update encodes, by the store where their contents are known.

    Raises:
        InputError: An encoder breaks its contract, or of a whole catalog could use nothing.
    """
    part = update.part
    if not len(part):
        return []
    features = encode_by(towers, part, config, store, cluster, prepared=True)
    if update.before is None:
        check_any(part, towers, features)
    return features


def write_update(
    update: Update, features: list[Features], out: str | Path, force: bool = False
) -> None:
    """Write an index as an update makes it, whole or not at all; nobody else may write it.

    Args:
        update: Of `planned`; the index is as it was then.
        features: Of the update's part.
        out: Folder of the index.
        force: Replace whatever is there.

    Raises:
        InputError: Something else is there.
        OSError: It cannot be written.
    """
    if update.before is None:
        made = replace(
            CatalogIndex.build(update.part, features, update.index_kind), marks=update.marks
        )
        if update.alignment is not None:
            made = made.with_alignment(update.alignment)
        write_index(made, out, force)
        return
    check_target(out, force)
    rows, gone, part = update.before, update.gone, None
    touched = {rows.catalog.item_ids[row] for row in np.flatnonzero(gone)}
    quarantine = [refused for refused in rows.quarantine if refused.item_id not in touched]
    if len(update.part):
        new = CatalogIndex.of_some(
            update.part, features, rows.alignment, update.marks, update.index_kind
        )
        quarantine += new.quarantine
        part, gone = _with_others(new, rows, gone, out, update.stamps)
    write_change(out, rows, gone, part, quarantine, update.stamps)


def _before(catalog: Catalog, out: str | Path, force: bool) -> IndexRows | None:
    """The index that is there; None where there is none, or a damaged or older one.

    Raises:
        InputError: It cannot be read now, which says nothing of what it holds; or as far as it
            still tells, the catalog lacks nearly all of its items.
    """
    if not is_index(out):
        return None
    check_target(out, force)
    try:
        return read_index_rows(out)
    except InputError as error:
        if isinstance(error.__cause__, OSError | MemoryError) and not isinstance(
            error.__cause__, FileNotFoundError
        ):
            raise
        left = remains_of(out)
        kept = left.kept(frozenset(catalog.item_ids))
        told = f"it tells of {left.items:,} items, of which the catalog has {kept:,} at most"
        if not force and kept < LEAST_KEPT * left.items:
            raise InputError(
                f"{out} cannot be updated ({error}); {told}, and would be made anew with what the "
                "catalog has. Nothing was written. If that is meant, add --force"
            ) from error
        log.warning(
            "the index that was there is made anew, without its alignment if it had one: %s; %s",
            error,
            told if left.items else "it tells nothing of its items: whether some are lost is open",
        )
        return None


def _fields(catalog: Catalog, towers: list[Tower]) -> list[tuple[str, list[object]]]:
    """The fields whose contents stand in no column of an index, and their raw values.

    The encoders see all values: what they learn of them is in their fingerprints.
    """
    raws: dict[str, list[object]] = {}
    for tower in towers:
        values = tower.raws(catalog)[0]
        if isinstance(tower.source, str):
            raws[tower.source] = values
        if hasattr(tower.encoder, "prepare"):
            tower.encoder.prepare(flattened(values)[0])
    return [
        (name, values)
        for name, values in raws.items()
        if not any(isinstance(value, str) for value in values)
    ]


def _known(before: IndexRows | None, name: str, place: NDArray[np.int64]) -> Marks:
    if before is None or name not in before.marks:
        return Marks.nothing(len(place))
    return before.marks[name].take(place)


def _touched(
    before: IndexRows,
    marks: Mapping[str, Marks],
    place: NDArray[np.int64],
    same: NDArray[np.bool_],
) -> dict[str, NDArray[np.int64]]:
    """The stamps of the index's items, of each field in which those that are the ``same`` have new.

    So a file that was touched is read again once, and not in every later run.
    """
    stamps = {
        name: before.marks[name].stamped(place[same], now.stamps[same]).stamps
        for name, now in marks.items()
        if name in before.marks
    }
    return {name: of for name, of in stamps.items() if (of != before.marks[name].stamps).any()}


def _goes_on(before: IndexRows, catalog: Catalog, towers: list[Tower]) -> bool:
    """Whether what is encoded now can stand beside what the index holds."""
    now = {tower.encoder.modality: (tower.spec, *_made_by(tower)) for tower in towers}
    made = before.manifest.encoders
    # The spec too: what is opened to search an index is never a folder's word alone.
    if now != {name: (of.spec, of.fingerprint, of.dim) for name, of in made.items()}:
        log.info("the encoders are not those of the index: all is made anew")
    elif not fit_together(slim(catalog), before.catalog):
        log.info("the columns are not those of the index: all is made anew")
    else:
        return True
    return False


def _is_of_another_kind(before: IndexRows | None, kind: str) -> bool:
    if before is None or before.manifest.index_kind == kind:
        return False
    log.info("the index is %s, not %s: all is made anew", before.manifest.index_kind, kind)
    return True


def _made_by(tower: Tower) -> tuple[str, int]:
    return tower.encoder.fingerprint, tower.encoder.dim


def _kept_alignment(before: IndexRows, towers: list[Tower]) -> Alignment | None:
    """The alignment of an index, unless the encoders are others now."""
    if before.alignment is None:
        return None
    now = {tower.encoder.modality: _made_by(tower) for tower in towers}
    then = before.manifest.encoders
    if any(now.get(side) != (then[side].fingerprint, then[side].dim) for side in SIDES):
        log.warning(
            "the alignment of this index was of other encoders and is left out; "
            "p5mm align INDEX trains it anew"
        )
        return None
    return before.alignment


def _check_kept(change: Change, items: int, out: str | Path) -> None:
    kept = items - len(change.removed)
    if kept < LEAST_KEPT * items:
        some = ", ".join(shown(item)[:80] for item in change.removed[:3])
        raise InputError(
            f"of the {items:,} items of {out} the catalog has {kept:,}: {len(change.removed):,} "
            f"would be removed ({some}, ...); nothing was written. If that is meant, add --force"
        )


def _with_others(
    new: CatalogIndex,
    rows: IndexRows,
    gone: NDArray[np.bool_],
    out: str | Path,
    stamps: Mapping[str, NDArray[np.int64]],
) -> tuple[IndexContents, NDArray[np.bool_]]:
    """The new items with those of some earlier segments, and all rows that go.

    Those are the small ones; and all, where the memory has no room for one segment more.
    """
    left = np.bincount(rows.segment[~gone], minlength=len(rows.manifest.segments)).tolist()
    small, every = _small_ones(left, len(new.catalog)), np.flatnonzero(left).tolist()
    made = partial(_joined_with, new, rows, gone, out, stamps)
    try:
        return made(small)
    except InputError:
        if small == every or budget_of(new.index_kind) is None:
            raise
    log.info("the memory has no room for one segment more: all items are made one")
    return made(every)


def _small_ones(left: Sequence[int], size: int) -> list[int]:
    """The last segments, with ``left`` items each, that are no larger than what follows them.

    So there are never many segments, and an item is written again a few times in all.
    """
    numbers: list[int] = []
    for number in reversed(range(len(left))):
        if left[number] > min(size, MOST_SWALLOWED):
            break
        if left[number]:
            numbers, size = [number, *numbers], size + left[number]
    return numbers


def _joined_with(
    new: CatalogIndex,
    rows: IndexRows,
    gone: NDArray[np.bool_],
    out: str | Path,
    stamps: Mapping[str, NDArray[np.int64]],
    numbers: list[int],
) -> tuple[IndexContents, NDArray[np.bool_]]:
    """The new items with those of the segments of some numbers, and all rows that go."""
    within = np.isin(rows.segment, numbers)
    made = new
    if numbers:
        small, staying = read_part(out, numbers), np.flatnonzero(~gone[within])
        marks = {
            name: replace(of, stamps=stamps[name][within]) if name in stamps else of
            for name, of in small.marks.items()
        }
        small = replace(small, marks=marks)
        whole = joined([(small, staying), (new, np.arange(len(new.catalog)))])
        made = replace(CatalogIndex.of(whole), alignment=new.alignment, index_kind=new.index_kind)
    gone = gone | within
    kept = [rows.manifest.segments[number] for number in np.unique(rows.segment[~gone])]
    taken = sum(views_size(Path(out) / SEGMENTS / segment.name, segment) for segment in kept)
    return made.with_views(taken), gone
