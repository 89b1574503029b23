"""The folder of a catalog index.

config.json           format, items, encoders with fingerprints, segments
segments/*/           the items, a folder each time some were added; see segment.py
deleted.safetensors   which rows of the segments are items no longer, where there are any
quarantine.parquet    item_id, modality, reason
alignment.safetensors where pictures and texts were aligned

A change makes a folder of its own, which takes the place of the old one at once: the segments that
stay are the same files, by hard links.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from p5mm.arrays import Expected, read_arrays, write_arrays
from p5mm.data.catalog import Catalog
from p5mm.encoders.alignment import Alignment
from p5mm.errors import InputError
from p5mm.files import holds_only, link, refuse_other_output, whole_folder
from p5mm.indexing.storage.contents import (
    IndexContents,
    Refused,
    Rows,
    joined,
    joined_catalog,
    joined_marks,
)
from p5mm.indexing.storage.manifest import (
    REMEDY,
    TOWERS,
    Made,
    Manifest,
    Segment,
    check_not_newer,
    is_index,
    read_manifest,
)
from p5mm.indexing.storage.marks import Marks
from p5mm.indexing.storage.segment import (
    check_views,
    keep_segment,
    read_marks,
    read_present,
    read_rows,
    read_segment,
    write_segment,
)
from p5mm.plain import reading
from p5mm.steady import read_steadily

SEGMENTS, DELETED, QUARANTINED, ALIGNED = (
    "segments", "deleted.safetensors", "quarantine.parquet", "alignment.safetensors",
)  # fmt: skip
OURS = {"config.json", SEGMENTS, DELETED, QUARANTINED, ALIGNED}
QUARANTINE = pa.schema([(name, pa.string()) for name in ("item_id", "modality", "reason")])


@dataclass(frozen=True)
class IndexRows:
    """The items of an index without their vectors: what a change is worked out from.

    Attributes:
        manifest: What config.json says.
        catalog: Its items.
        marks: By what changes of fields are seen, in the catalog's rows.
        present: Of each modality ``[n]`` True where an item has a vector.
        segment: ``[n]`` int64, in which of the manifest's segments an item is.
        row: ``[n]`` int64, and in which row of it.
        deleted: Of each segment the rows that are items no longer, ascending.
        quarantine: What could not be used.
        alignment: Of pictures and texts, where it has one.
    """

    manifest: Manifest
    catalog: Catalog
    marks: dict[str, Marks]
    present: dict[str, NDArray[np.bool_]]
    segment: Rows
    row: Rows
    deleted: tuple[Rows, ...]
    quarantine: tuple[Refused, ...]
    alignment: Alignment | None


def check_target(folder: str | Path, force: bool = False) -> None:
    """Refuse to put an index where something else is.

    Raises:
        InputError: The folder is a file, holds something else than an index, or one of a newer
            p5mm.
    """
    if not force:
        check_not_newer(folder)
    refuse_other_output(folder, _is_replaceable, "index of p5mm alone", force)


def write_index(index: IndexContents, folder: str | Path, force: bool = False) -> None:
    """Writes an index as one segment; the folder is replaced whole, or stays as it was.

    Args:
        index: What is written; each of its views is one index of faiss.
        folder: New, empty, or an index's, which is replaced.
        force: Replace whatever else is in the folder.

    Raises:
        InputError: The folder is a file, or holds something else than an index.
        OSError: It cannot be written.
    """
    check_target(folder, force)
    encoders = {
        name: Made(of.spec, of.fingerprint, of.dim, int(of.present.sum()))
        for name, of in index.features.items()
    }
    with whole_folder(folder) as draft:
        segment = _new_segment(index, draft, "000001")
        if index.alignment is not None:
            index.alignment.save(draft / ALIGNED)
        alone = [(segment, np.empty(0, np.int64))]
        _write_rest(draft, encoders, alone, index.quarantine, index.index_kind)


def write_change(
    folder: str | Path,
    rows: IndexRows,
    gone: NDArray[np.bool_],
    new: IndexContents | None,
    quarantine: Sequence[Refused],
    stamps: Mapping[str, NDArray[np.int64]] = MappingProxyType({}),
) -> None:
    """Write an index without some items and with some new ones; the rest is not written again.

    Args:
        folder: Of the index, which is as ``rows`` say.
        rows: Its items.
        gone: ``[n]`` True for those that are deleted.
        new: Those that come, as a segment of their own.
        quarantine: Of the index as it will be.
        stamps: Of each field that has other stamps than the index, those of all its items.

    Raises:
        OSError: It cannot be written.
    """
    folder = Path(os.path.realpath(folder))
    kept, told = [], {}
    for number, (segment, before) in enumerate(
        zip(rows.manifest.segments, rows.deleted, strict=True)
    ):
        deleted = np.union1d(before, rows.row[gone & (rows.segment == number)])
        if len(deleted) < segment.items:
            kept.append((replace(segment, deleted=len(deleted)), deleted))
            own = rows.segment == number
            told[segment.name] = rows.row[own], {name: of[own] for name, of in stamps.items()}
    encoders = {
        name: replace(made, items=int(rows.present[name][~gone].sum()))
        for name, made in rows.manifest.encoders.items()
    }
    with whole_folder(folder) as draft:
        for segment, _ in kept:
            places = folder / SEGMENTS / segment.name, draft / SEGMENTS / segment.name
            keep_segment(*places, segment.items, *told[segment.name])
        if new is not None:
            segment = _new_segment(new, draft, rows.manifest.next_name)
            kept.append((segment, np.empty(0, np.int64)))
            encoders = {
                name: replace(made, items=made.items + int(new.features[name].present.sum()))
                for name, made in encoders.items()
            }
        if rows.manifest.aligned:
            link(folder / ALIGNED, draft / ALIGNED)
        _write_rest(draft, encoders, kept, quarantine, rows.manifest.index_kind)


def read_index(folder: str | Path) -> IndexContents:
    """What a folder of an index holds, as it stood at one moment.

    Raises:
        InputError: The folder is no index, a file in it is missing or broken, or leads out of it.
    """
    return read_steadily(folder, _read)


def read_index_rows(folder: str | Path) -> IndexRows:
    """The items of an index, as they stood at one moment, without their vectors.

    Raises:
        InputError: As `read_index`.
    """
    return read_steadily(folder, _read_rows)


def read_part(folder: str | Path, numbers: Sequence[int]) -> IndexContents:
    """The items of some segments, which are not deleted, of an index that nobody else replaces.

    Raises:
        InputError: As `read_index`.
    """
    return _read_segments(Path(folder), read_manifest(Path(folder)), numbers)


def live_rows(folder: Path, manifest: Manifest) -> list[Rows]:
    """Of each segment the rows that are not deleted, ascending.

    Raises:
        InputError: The file that says so is missing or broken.
    """
    deleted = _read_deleted(folder, manifest)
    return [_live(*pair) for pair in zip(manifest.segments, deleted, strict=True)]


def _is_replaceable(folder: Path) -> bool:
    return is_index(folder) and holds_only(folder, OURS)


def _new_segment(contents: IndexContents, draft: Path, name: str) -> Segment:
    write_segment(contents, draft / SEGMENTS / name)
    return Segment(name, len(contents.catalog), 0, tuple(contents.views))


def _write_rest(
    draft: Path,
    encoders: dict[str, Made],
    segments: Sequence[tuple[Segment, Rows]],
    quarantine: Sequence[Refused],
    index_kind: str,
) -> None:
    """All but the segments and the alignment."""
    rows = [asdict(refused) for refused in quarantine]
    pq.write_table(pa.Table.from_pylist(rows, QUARANTINE), draft / QUARANTINED)
    deleted = {segment.name: gone for segment, gone in segments if len(gone)}
    if deleted:
        write_arrays(draft / DELETED, deleted)
    Manifest(
        sum(segment.live for segment, _ in segments),
        len(rows),
        (draft / ALIGNED).exists(),
        index_kind,
        encoders,
        tuple(segment for segment, _ in segments),
    ).write(draft / "config.json")


def _read(folder: Path) -> IndexContents:
    manifest = read_manifest(folder)
    whole = _read_segments(folder, manifest, range(len(manifest.segments)))
    quarantine = _read_quarantine(folder, manifest)
    with reading(folder / "config.json", REMEDY):
        if len(set(whole.catalog.item_ids)) != manifest.items:
            raise InputError("an item is in two segments")
        for name, made in manifest.encoders.items():
            there = int(whole.features[name].present.sum())
            if there != made.items:
                raise InputError(f"{there} items have {name} vectors, not {made.items}")
    return replace(
        whole,
        quarantine=quarantine,
        alignment=_read_alignment(folder, manifest),
        index_kind=manifest.index_kind,
    )


def _read_segments(folder: Path, manifest: Manifest, numbers: Sequence[int]) -> IndexContents:
    alignment = _read_alignment(folder, manifest)
    joint = None if alignment is None else 2 * alignment.image.linear.shape[1]
    deleted = _read_deleted(folder, manifest)
    parts = []
    for number in numbers:
        segment = manifest.segments[number]
        whole = read_segment(folder / SEGMENTS / segment.name, segment, manifest.encoders, joint)
        parts.append((whole, _live(segment, deleted[number])))
    with reading(folder / SEGMENTS, REMEDY):
        return joined(parts)


def _read_rows(folder: Path) -> IndexRows:
    manifest = read_manifest(folder)
    deleted, live = _read_deleted(folder, manifest), live_rows(folder, manifest)
    places = [folder / SEGMENTS / segment.name for segment in manifest.segments]
    each = list(zip(places, manifest.segments, live, strict=True))
    for place, segment, _ in each:
        check_views(place, segment)
    marks = [
        {name: of.take(rows) for name, of in read_marks(place, segment.items).items()}
        for place, segment, rows in each
    ]
    present = {
        name: np.concatenate(
            [read_present(place, name, segment.items)[rows] for place, segment, rows in each]
        )
        for name in manifest.encoders
    }
    with reading(folder / SEGMENTS, REMEDY):
        catalog = joined_catalog(
            [read_rows(place, segment).take(rows) for place, segment, rows in each]
        )
    sizes = [len(rows) for rows in live]
    return IndexRows(
        manifest,
        catalog,
        joined_marks(marks, sizes),
        present,
        np.repeat(np.arange(len(sizes)), sizes),
        np.concatenate(live),
        tuple(deleted),
        _read_quarantine(folder, manifest),
        _read_alignment(folder, manifest),
    )


def _live(segment: Segment, deleted: Rows) -> Rows:
    return np.setdiff1d(np.arange(segment.items), deleted, assume_unique=True)


def _read_deleted(folder: Path, manifest: Manifest) -> list[Rows]:
    """Of each segment the rows that are deleted, ascending."""
    counts = {segment.name: segment.deleted for segment in manifest.segments if segment.deleted}
    path = folder / DELETED
    nothing = np.empty(0, np.int64)
    if not counts:
        return [nothing] * len(manifest.segments)
    expected = {name: Expected((count,), ("int64",), 0) for name, count in counts.items()}
    arrays = read_arrays(path, expected, REMEDY)
    with reading(path, REMEDY):
        for segment in manifest.segments:
            rows = arrays.get(segment.name, nothing)
            if (np.diff(rows) <= 0).any() or (rows >= segment.items).any():
                raise InputError(f"the rows of {segment.name} do not rise to {segment.items - 1}")
    return [arrays.get(segment.name, nothing) for segment in manifest.segments]


def _read_quarantine(folder: Path, manifest: Manifest) -> tuple[Refused, ...]:
    path = folder / QUARANTINED
    with reading(path, REMEDY):
        table = pq.read_table(path)
        if table.schema.remove_metadata() != QUARANTINE:
            raise InputError(f"its columns must be {', '.join(QUARANTINE.names)}, of strings")
        table.validate(full=True)
        if table.num_rows != manifest.quarantined:
            raise InputError(f"it holds {table.num_rows} values, not {manifest.quarantined}")
        return tuple(Refused(**row) for row in table.to_pylist())


def _read_alignment(folder: Path, manifest: Manifest) -> Alignment | None:
    if not manifest.aligned:
        return None
    path = folder / ALIGNED
    alignment = Alignment.load(path)
    with reading(path, REMEDY):
        for name in TOWERS:
            head = getattr(alignment, name)
            if name not in manifest.encoders or manifest.encoders[name].dim != len(head.mean):
                raise InputError(f"its {name} head fits no {name} vectors of this index")
    return alignment
