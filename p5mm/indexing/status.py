"""What an index is: items, vectors, segments, what is deleted, room on the disk."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from p5mm.indexing.storage.folder import SEGMENTS, IndexRows, read_index_rows
from p5mm.indexing.storage.manifest import FORMAT, Segment
from p5mm.indexing.storage.segment import VIEWS
from p5mm.retrieval.index import read_about, stored_size
from p5mm.steady import read_steadily

MANY = 16  # segments from which a search is slower than it need be
WORTH_COMPACTING = 0.2  # share of the room that deleted items take


def index_status(folder: str | Path) -> dict[str, Any]:
    """What an index is, as plain values.

    Raises:
        InputError: The folder is no index, or a file in it is missing or broken.
    """
    return read_steadily(folder, _read)


def bytes_in(folder: Path) -> int:
    """Bytes of the files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _read(folder: Path) -> dict[str, Any]:
    rows = read_index_rows(folder)
    segments = [_segment(folder / SEGMENTS / one.name, one) for one in rows.manifest.segments]
    size = bytes_in(folder)
    dead = sum(one["bytes"] * one["deleted"] // one["items"] for one in segments)
    return {
        "kind": "index",
        "format": FORMAT,
        "index_kind": rows.manifest.index_kind,
        "items": rows.manifest.items,
        "without_vector": _without_vector(rows),
        "text": list(rows.catalog.text),
        "modalities": {name: asdict(made) for name, made in rows.manifest.encoders.items()},
        "alignment": None if rows.alignment is None else asdict(rows.alignment.report),
        "segments": segments,
        "deleted": sum(one.deleted for one in rows.manifest.segments),
        "quarantined": rows.manifest.quarantined,
        "bytes": size,
        "bytes_of_deleted": dead,
        "worth_compacting": len(segments) > MANY or dead > WORTH_COMPACTING * size,
    }


def _segment(folder: Path, segment: Segment) -> dict[str, Any]:
    views: Mapping[str, Any] = {name: _view(folder / VIEWS / name) for name in segment.views}
    own = {"name": segment.name, "items": segment.items, "deleted": segment.deleted}
    return {**own, "bytes": bytes_in(folder), "views": views}


def _view(folder: Path) -> dict[str, Any]:
    about = read_about(folder / "index.json")
    return {
        "index": about["factory"],
        "items": about["items"],
        "bytes": stored_size(folder),
        "recall@100": about["recall@100"],
    }


def _without_vector(rows: IndexRows) -> int:
    there = np.logical_or.reduce(list(rows.present.values()))
    return int((~there).sum())
