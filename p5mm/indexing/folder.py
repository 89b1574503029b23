"""The folder of a catalog index.

config.json           format, items, encoders with fingerprints, views, alignment report
items.parquet         the catalog's columns, without vectors and pictures
quarantine.parquet    item_id, modality, reason
features/*.safetensors    vectors and present, a file a modality
views/*/              a vector index each
alignment.safetensors where pictures and texts were aligned
"""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet as pq
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from p5mm.data.catalog import Catalog
from p5mm.encoders.alignment import Alignment
from p5mm.encoders.base import Features
from p5mm.errors import InputError
from p5mm.files import whole_folder
from p5mm.indexing.contents import IndexContents, Refused
from p5mm.retrieval.index import VectorIndex

KIND = "p5mm catalog index"
FORMAT = 1


def is_index(folder: str | Path) -> bool:
    """Whether a folder is a catalog index of any format."""
    try:
        config = json.loads((Path(folder) / "config.json").read_text())
    except (OSError, ValueError):
        return False
    return isinstance(config, dict) and config.get("kind") == KIND


def check_target(folder: str | Path) -> None:
    """Refuses to put an index where something else is.

    Raises:
        InputError: The folder is a file, or is not empty and is no index.
    """
    folder = Path(folder)
    if not folder.exists():
        return
    if not folder.is_dir() or (any(folder.iterdir()) and not is_index(folder)):
        raise InputError(
            f"{folder} exists and is no index of p5mm; nothing was written. "
            "Give --out a new or empty folder, or an index to replace"
        )


def write_index(index: IndexContents, folder: str | Path) -> None:
    """Writes an index; the folder is replaced whole, or stays as it was.

    Raises:
        InputError: The folder exists, is not empty and is no index.
    """
    check_target(folder)
    with whole_folder(folder) as draft:
        index.catalog.write(draft / "items.parquet")
        quarantine = pa.Table.from_pylist([asdict(one) for one in index.quarantine], QUARANTINE)
        pq.write_table(quarantine, draft / "quarantine.parquet")
        (draft / "features").mkdir()
        for one in index.features.values():
            arrays = {"vectors": one.vectors, "present": one.present}
            save_file(arrays, draft / "features" / _file(one.modality))
        for name, view in index.views.items():
            view.save(draft / "views" / name)
        if index.alignment is not None:
            index.alignment.save(draft / "alignment.safetensors")
        (draft / "config.json").write_text(json.dumps(_config(index), indent=2) + "\n")


def read_index(folder: str | Path) -> IndexContents:
    """What a folder of an index holds.

    Raises:
        InputError: The folder is no index, or a file in it is missing or broken.
    """
    folder = Path(folder)
    if not is_index(folder):
        raise InputError(
            f"{folder} is no index of p5mm; make one: p5mm index CATALOG --out {folder}"
        )
    config = json.loads((folder / "config.json").read_text())
    if config.get("format") != FORMAT:
        raise InputError(
            f"{folder} has format {config.get('format')}; this p5mm reads {FORMAT}. Build it again"
        )
    try:
        return _read(folder, config)
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"the index {folder} is broken: {error}. Build it again") from error


QUARANTINE = pa.schema([(name, pa.string()) for name in ("item_id", "modality", "reason")])


def _read(folder: Path, config: Mapping[str, Any]) -> IndexContents:
    catalog = Catalog.load(folder / "items.parquet")
    features = {}
    for name, about in config["encoders"].items():
        arrays = load_file(folder / "features" / _file(name))
        vectors, present = arrays["vectors"], arrays["present"]
        if not len(vectors) == len(present) == len(catalog):
            raise InputError(
                f"the index {folder} is inconsistent: {len(catalog)} items, {len(vectors)} "
                f"{name} vectors. Build it again"
            )
        features[name] = Features(name, about["spec"], about["fingerprint"], vectors, present)
    alignment = Alignment.load(folder / "alignment.safetensors") if config["aligned"] else None
    views = {name: VectorIndex.load(folder / "views" / name) for name in config["views"]}
    refused = pq.read_table(folder / "quarantine.parquet").to_pylist()
    quarantine = tuple(Refused(**row) for row in refused)
    return IndexContents(catalog, features, views, quarantine, alignment)


def _config(index: IndexContents) -> dict[str, Any]:
    return {
        "kind": KIND,
        "format": FORMAT,
        "items": len(index.catalog),
        "quarantined": len(index.quarantine),
        "encoders": {
            one.modality: {
                "spec": one.spec,
                "fingerprint": one.fingerprint,
                "dim": one.dim,
                "items": int(one.present.sum()),
            }
            for one in index.features.values()
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
