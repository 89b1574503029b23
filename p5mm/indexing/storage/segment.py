"""A segment of an index: some of its items, in a folder in which at most the stamps change.

items.parquet             the catalog's columns, without vectors and pictures
marks.safetensors         by what a change of a picture or file is seen
features/*.safetensors    vectors and present, a file a modality
views/*/                  a vector index each
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from p5mm.arrays import Expected, check_names, read_array, read_arrays, write_arrays
from p5mm.data.catalog import Catalog, read_items
from p5mm.encoders.base import Features
from p5mm.encoders.values.content import STAMP
from p5mm.errors import InputError
from p5mm.files import link
from p5mm.indexing.storage.contents import IndexContents, Rows
from p5mm.indexing.storage.manifest import JOINT, REMEDY, TOWERS, Made, Segment
from p5mm.indexing.storage.marks import KEY, Marks
from p5mm.plain import reading
from p5mm.retrieval.index import VectorIndex, check_files, stored_size

ITEMS, MARKS, FEATURES, VIEWS = "items.parquet", "marks.safetensors", "features", "views"


def write_segment(contents: IndexContents, folder: Path) -> None:
    """Write some items of an index into a new folder.

    Raises:
        OSError: It cannot be written.
    """
    (folder / FEATURES).mkdir(parents=True)
    contents.catalog.write(folder / ITEMS)
    _write_marks(contents.marks, folder / MARKS)
    for name, features in contents.features.items():
        own = {"vectors": features.vectors, "present": features.present}
        write_arrays(folder / FEATURES / _file(name), own)
    for name, view in contents.views.items():
        view.save(folder / VIEWS / name)


def keep_segment(
    source: Path, target: Path, items: int, rows: Rows, stamps: Mapping[str, NDArray[np.int64]]
) -> None:
    """A segment in another folder too, by hard links; only other stamps are written.

    Args:
        source: Its folder.
        target: The other.
        items: How many are in it.
        rows: ``[m]`` int64 those of its rows that are told of.
        stamps: Of each field that has other stamps ``[m, 3]``, theirs; a field of which this
            segment has no marks says nothing.

    Raises:
        OSError: It cannot be written.
    """
    before = read_marks(source, items) if stamps else {}
    now = {name: before[name].stamped(rows, of) for name, of in stamps.items() if name in before}
    if all((marks.stamps == before[name].stamps).all() for name, marks in now.items()):
        link(source, target)
        return
    target.mkdir(parents=True)
    for path in sorted(source.iterdir()):
        if path.name != MARKS:
            link(path, target / path.name)
    _write_marks(before | now, target / MARKS)


def read_segment(
    folder: Path, segment: Segment, encoders: Mapping[str, Made], joint: int | None
) -> IndexContents:
    """All that a segment holds, checked; items that are deleted too.

    Args:
        folder: Of the segment.
        segment: What the manifest says of it.
        encoders: What the manifest says of the vectors.
        joint: Dimensions of the view of aligned pictures and texts; None where they share a space.

    Raises:
        InputError: A file is missing or broken, or does not fit the others.
    """
    catalog = read_rows(folder, segment)
    features = {
        name: _read_features(folder / FEATURES / _file(name), name, made, len(catalog))
        for name, made in encoders.items()
    }
    views = {name: VectorIndex.load(folder / VIEWS / name) for name in segment.views}
    for name, view in views.items():
        with reading(folder / VIEWS / name, REMEDY):
            _check_view(name, view, catalog, features, joint)
    with reading(folder, REMEDY):
        needed = [name for name in TOWERS if name in features and features[name].present.any()]
        for name in [*needed, *([JOINT] if needed and joint is not None else [])]:
            if name not in views:
                raise InputError(f"there is no view '{name}', and there are vectors for it")
    return IndexContents(catalog, features, views, marks=read_marks(folder, len(catalog)))


def read_rows(folder: Path, segment: Segment) -> Catalog:
    """The items of a segment, without their vectors.

    Raises:
        InputError: The file is missing or broken, or holds other items than it is said to.
    """
    catalog = read_items(folder / ITEMS, REMEDY)
    with reading(folder / ITEMS, REMEDY):
        if len(catalog) != segment.items:
            raise InputError(f"it holds {len(catalog)} items, not {segment.items}")
        if "image" in catalog.table.column_names:
            kind = catalog.table.schema.field("image").type
            one = kind.value_type if pa.types.is_list(kind) else kind
            if not (pa.types.is_string(one) or pa.types.is_null(one)):
                raise InputError(f"its column image is {kind}, not names of files")
    return catalog


def read_present(folder: Path, modality: str, items: int) -> NDArray[np.bool_]:
    """``[n]`` True where an item of a segment has a vector; the vectors are not read.

    Raises:
        InputError: The file is missing or broken.
    """
    path = folder / FEATURES / _file(modality)
    return read_array(path, "present", Expected((items,), ("bool",)), REMEDY)


def check_views(folder: Path, segment: Segment) -> None:
    """See that the vector indexes of a segment are whole, as far as shows without reading them.

    Raises:
        InputError: A file is missing, cut, or broken.
    """
    for name in segment.views:
        check_files(folder / VIEWS / name)


def views_size(folder: Path, segment: Segment) -> int:
    """The bytes of a segment's vector indexes.

    Raises:
        OSError: One is not there.
    """
    return sum(stored_size(folder / VIEWS / name) for name in segment.views)


def read_marks(folder: Path, items: int) -> dict[str, Marks]:
    """The marks of a segment.

    Raises:
        InputError: The file is missing or broken.
    """
    path = folder / MARKS
    arrays = read_arrays(path, None, REMEDY)
    with reading(path, REMEDY):
        names = [name.removesuffix(".keys") for name in arrays if name.endswith(".keys")]
        check_names(arrays, {f"{name}.{kind}": 0 for name in names for kind in ("keys", "stamps")})
        for name in names:
            Expected((items, KEY), ("uint8",)).check(arrays[f"{name}.keys"], "keys")
            Expected((items, STAMP), ("int64",)).check(arrays[f"{name}.stamps"], "stamps")
        return {name: Marks(arrays[f"{name}.keys"], arrays[f"{name}.stamps"]) for name in names}


def _write_marks(marks: Mapping[str, Marks], path: Path) -> None:
    arrays: dict[str, NDArray[Any]] = {}
    for name, of in marks.items():
        arrays |= {f"{name}.keys": of.keys, f"{name}.stamps": of.stamps}
    write_arrays(path, arrays)


def _read_features(path: Path, name: str, made: Made, items: int) -> Features:
    expected = {"vectors": Expected((items, made.dim)), "present": Expected((items,), ("bool",))}
    arrays = read_arrays(path, expected, REMEDY)
    with reading(path, REMEDY):
        if made.dim < 1:
            raise InputError(f"its vectors have {made.dim} dimensions")
    return Features(name, made.spec, made.fingerprint, arrays["vectors"], arrays["present"])


def _check_view(
    name: str,
    view: VectorIndex,
    catalog: Catalog,
    features: Mapping[str, Features],
    joint: int | None,
) -> None:
    """Check that a view holds the items that have its vectors, in their order."""
    towers = [features[tower] for tower in (TOWERS if name == JOINT else (name,))]
    present = np.logical_or.reduce([tower.present for tower in towers])
    dim = joint if name == JOINT and joint is not None else towers[0].dim
    if view.dim != dim:
        raise InputError(f"its vectors have {view.dim} dimensions; {dim} are needed")
    item_ids = catalog.item_ids
    if list(view.item_ids) != [item_ids[row] for row in np.flatnonzero(present)]:
        raise InputError("its ids are not those of the items that have vectors, in their order")


def _file(modality: str) -> str:
    # A modality's name comes from outside: "vector:price" or worse.
    return quote(modality, safe="") + ".safetensors"
