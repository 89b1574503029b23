"""What a baseline is, and how a fitted one is kept."""

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from p5mm.data.split import LeaveOneOut
from p5mm.metrics.ranker import Ranker
from p5mm.registry import Registry

Arrays = dict[str, NDArray[Any]]


@runtime_checkable
class Baseline(Ranker, Protocol):
    """A ranker that learns from a log; a frozen set of fields are its settings."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    def fit(self, split: LeaveOneOut, n_items: int) -> None:
        """Learn from ``split.train``; validation cases may choose settings, test is not read."""

    def arrays(self) -> Arrays:
        """Everything that was learned, as named arrays."""

    def restore(self, arrays: Arrays) -> None:
        """Take back what ``arrays`` gave."""


baselines: Registry[Any] = Registry(
    "baseline",
    "p5mm.baselines",
    modules=(
        "p5mm.baselines.popularity",
        "p5mm.baselines.item_knn",
        "p5mm.baselines.bpr",
        "p5mm.baselines.sasrec",
    ),
)


def fit_key(baseline: Baseline, split: LeaveOneOut, n_items: int) -> str:
    """A hash of everything that a fit depends on: the log, the catalog size, the settings."""
    settings = {"class": type(baseline).__name__, "items": n_items, **asdict(baseline)}
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    digest.update(np.ascontiguousarray(split.log.offsets).data)
    digest.update(np.ascontiguousarray(split.log.items).data)
    return digest.hexdigest()


def save_baseline(baseline: Baseline, path: Path, key: str = "") -> None:
    """Write a fitted baseline to one safetensors file, with the key that it was fitted under."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    arrays = {name: np.ascontiguousarray(array) for name, array in baseline.arrays().items()}
    save_file(arrays, partial, metadata={"key": key})
    partial.replace(path)


def load_baseline(baseline: Baseline, path: Path, key: str = "") -> bool:
    """Restore a fitted baseline; False when there is no such file or it has another key."""
    try:
        with safe_open(path, framework="numpy") as file:
            if (file.metadata() or {}).get("key") != key:
                return False
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (FileNotFoundError, SafetensorError):
        return False
    baseline.restore(arrays)
    return True
