"""The folder of a catalog index.

config.json           format, items, encoders with fingerprints, views, alignment report
items.parquet         the catalog's columns, without vectors and pictures
quarantine.parquet    item_id, modality, reason
features/*.safetensors    vectors and present, a file a modality
views/*/              a vector index each
alignment.safetensors where pictures and texts were aligned
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from p5mm.arrays import Expected, read_arrays, write_arrays
from p5mm.data.catalog import read_items
from p5mm.encoders.alignment import Alignment
from p5mm.encoders.base import Features
from p5mm.errors import InputError, unknown
from p5mm.files import holds_only, refuse_other_output, whole_folder
from p5mm.indexing.contents import IndexContents, Refused
from p5mm.plain import check_type, read_json, reading
from p5mm.retrieval.index import VectorIndex
from p5mm.steady import read_steadily

KIND = "p5mm catalog index"
FORMAT = 1
TOWERS, JOINT = ("image", "text"), "joint"
OURS = {
    "config.json", "items.parquet", "quarantine.parquet", "features", "views",
    "alignment.safetensors",
}  # fmt: skip
REMEDY = "build it again"
QUARANTINE = pa.schema([(name, pa.string()) for name in ("item_id", "modality", "reason")])


def is_index(folder: str | Path) -> bool:
    """Whether a folder is a catalog index of any format."""
    try:
        return read_json(Path(folder) / "config.json", REMEDY).get("kind") == KIND
    except InputError:
        return False


def check_target(folder: str | Path, force: bool = False) -> None:
    """Refuse to put an index where something else is.

    Raises:
        InputError: The folder is a file, or holds something else than an index.
    """
    refuse_other_output(folder, _is_replaceable, "index of p5mm alone", force)


def write_index(index: IndexContents, folder: str | Path, force: bool = False) -> None:
    """Writes an index; the folder is replaced whole, or stays as it was.

    Args:
        index: What is written.
        folder: New, empty, or an index's, which is replaced.
        force: Replace whatever else is in the folder.

    Raises:
        InputError: The folder is a file, or holds something else than an index.
        OSError: It cannot be written.
    """
    check_target(folder, force)
    with whole_folder(folder) as draft:
        index.catalog.write(draft / "items.parquet")
        rows = [asdict(refused) for refused in index.quarantine]
        pq.write_table(pa.Table.from_pylist(rows, QUARANTINE), draft / "quarantine.parquet")
        (draft / "features").mkdir()
        for name, features in index.features.items():
            arrays = {"vectors": features.vectors, "present": features.present}
            write_arrays(draft / "features" / _file(name), arrays)
        for name, view in index.views.items():
            view.save(draft / "views" / name)
        if index.alignment is not None:
            index.alignment.save(draft / "alignment.safetensors")
        (draft / "config.json").write_text(json.dumps(_config(index), indent=2) + "\n")


def read_index(folder: str | Path) -> IndexContents:
    """What a folder of an index holds, as it stood at one moment.

    Raises:
        InputError: The folder is no index, a file in it is missing or broken, or leads out of it.
    """
    return read_steadily(folder, _read)


def _is_replaceable(folder: Path) -> bool:
    return is_index(folder) and holds_only(folder, OURS)


@dataclass(frozen=True)
class _Made:
    """What config.json says of the vectors of a modality."""

    spec: str
    fingerprint: str
    dim: int
    items: int


def _read(folder: Path) -> IndexContents:
    if not is_index(folder):
        raise InputError(
            f"{folder} is no index of p5mm; make one: p5mm index CATALOG --out {folder}"
        )
    made, views, about = _read_config(folder / "config.json")
    catalog = read_items(folder / "items.parquet", REMEDY)
    features = {
        name: _read_features(folder / "features" / _file(name), name, vectors, len(catalog))
        for name, vectors in made.items()
    }
    aligned = folder / "alignment.safetensors"
    contents = IndexContents(
        catalog,
        features,
        {name: VectorIndex.load(folder / "views" / name) for name in views},
        _read_quarantine(folder / "quarantine.parquet"),
        Alignment.load(aligned) if about["aligned"] else None,
    )
    with reading(aligned, REMEDY):
        _check_alignment(contents)
    for name, view in contents.views.items():
        with reading(folder / "views" / name, REMEDY):
            _check_view(name, view, contents)
    with reading(folder / "config.json", REMEDY):
        _check_counts(about, contents)
    return contents


def _read_config(path: Path) -> tuple[dict[str, _Made], Sequence[str], Mapping[str, Any]]:
    """The encoders, the names of the views, and all that a config.json says."""
    about = read_json(path, REMEDY)
    with reading(path, REMEDY):
        if about.get("format") != FORMAT:
            told = str(about.get("format"))[:20]
            raise InputError(f"it has format {told}; this p5mm reads {FORMAT}")
        kinds = {
            "items": int, "quarantined": int, "aligned": bool, "encoders": dict[str, _Made],
            "views": dict[str, dict[str, object]],
        }  # fmt: skip
        for name, kind in kinds.items():
            check_type(about.get(name), kind, name)
        for name in about["views"]:
            if name not in (*TOWERS, JOINT):
                raise unknown("view", name[:80], (*TOWERS, JOINT))
        made = {name: _Made(**values) for name, values in about["encoders"].items()}
        return made, list(about["views"]), about


def _read_features(path: Path, name: str, made: _Made, items: int) -> Features:
    expected = {"vectors": Expected((items, made.dim)), "present": Expected((items,), ("bool",))}
    arrays = read_arrays(path, expected, REMEDY)
    with reading(path, REMEDY):
        present = int(arrays["present"].sum())
        if made.dim < 1 or present != made.items:
            raise InputError(
                f"{present} items have vectors of {made.dim} dimensions; config.json says "
                f"{made.items}"
            )
    return Features(name, made.spec, made.fingerprint, arrays["vectors"], arrays["present"])


def _read_quarantine(path: Path) -> tuple[Refused, ...]:
    with reading(path, REMEDY):
        table = pq.read_table(path)
        if table.schema.remove_metadata() != QUARANTINE:
            raise InputError(f"its columns must be {', '.join(QUARANTINE.names)}, of strings")
        table.validate(full=True)
        return tuple(Refused(**row) for row in table.to_pylist())


def _check_alignment(contents: IndexContents) -> None:
    if contents.alignment is None:
        return
    for name, head in ((name, getattr(contents.alignment, name)) for name in TOWERS):
        if name not in contents.features or contents.features[name].dim != len(head.mean):
            raise InputError(f"its {name} head fits no {name} vectors of this index")
    if JOINT not in contents.views:
        raise InputError("the index is aligned and has no joint view")


def _check_view(name: str, view: VectorIndex, contents: IndexContents) -> None:
    """Check that a view holds the items that have its vectors, in their order."""
    features, item_ids = contents.features, contents.catalog.item_ids
    towers = [features[tower] for tower in (TOWERS if name == JOINT else (name,))]
    present = np.logical_or.reduce([tower.present for tower in towers])
    dim = towers[0].dim
    if name == JOINT and contents.alignment is not None:
        dim = 2 * contents.alignment.image.linear.shape[1]
    if view.dim != dim:
        raise InputError(f"its vectors have {view.dim} dimensions; {dim} are needed")
    expected = [item_ids[row] for row in np.flatnonzero(present)]
    if list(view.item_ids) != expected:
        raise InputError("its ids are not those of the items that have vectors, in their order")


def _check_counts(about: Mapping[str, Any], contents: IndexContents) -> None:
    """Check that config.json counts what is there, and that no view is missing."""
    there = {"items": len(contents.catalog), "quarantined": len(contents.quarantine)}
    for name, count in there.items():
        if about[name] != count:
            raise InputError(f"{name} is {about[name]}, and {count} are there")
    for name, features in contents.features.items():
        if name in TOWERS and features.present.any() and name not in contents.views:
            raise InputError(f"there is no view '{name}', and there are vectors for it")


def _config(index: IndexContents) -> dict[str, Any]:
    return {
        "kind": KIND,
        "format": FORMAT,
        "items": len(index.catalog),
        "quarantined": len(index.quarantine),
        "encoders": {
            name: {
                "spec": features.spec,
                "fingerprint": features.fingerprint,
                "dim": features.dim,
                "items": int(features.present.sum()),
            }
            for name, features in index.features.items()
        },
        "views": {
            name: {"items": len(view), "index": view.factory, "recall@100": view.recall}
            for name, view in index.views.items()
        },
        "aligned": index.alignment is not None,
    }


def _file(modality: str) -> str:
    # A modality's name comes from outside: "vector:price" or worse.
    return quote(modality, safe="") + ".safetensors"
