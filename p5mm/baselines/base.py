"""What a baseline is, and how what it learned is kept."""

import hashlib
import json
import logging
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from p5mm.data.split import LeaveOneOut, Split
from p5mm.files import whole_file
from p5mm.metrics.ranker import Ranker
from p5mm.metrics.rating_errors import RatingModel
from p5mm.registry import Registry

Arrays = dict[str, NDArray[Any]]

log = logging.getLogger(__name__)


class Learner(Protocol):
    """Learns from a log; a frozen set of fields are its settings."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    def fit(self, split: Split, n_items: int) -> None:
        """Learn from ``split.train``; validation cases may choose settings, test is not read."""

    def n_items(self) -> int:
        """Size of the catalog that it was fitted on."""

    def arrays(self) -> Arrays:
        """Everything that was learned, as named arrays."""

    def restore(self, arrays: Arrays) -> None:
        """Take back what ``arrays`` gave.

        Raises:
            ValueError: They are not what ``arrays`` gives; a missing one is a KeyError.
        """


@runtime_checkable
class Baseline(Ranker, Learner, Protocol):
    """A ranker that learns from a log."""


@runtime_checkable
class RatingBaseline(RatingModel, Learner, Protocol):
    """A model of ratings that learns from a log."""


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


def fit_once(learner: Learner, split: Split, n_items: int, path: Path | None) -> None:
    """Fit, or take what is kept in a file where log, catalog size and settings agree.

    Args:
        learner: Fitted in place.
        split: The log.
        n_items: Catalog size.
        path: File that keeps what was learned, if it can be written; None keeps nothing.
    """
    key = fit_key(learner, split, n_items)
    if path is None or not load_baseline(learner, path, key) or learner.n_items() != n_items:
        learner.fit(split, n_items)
        if path is not None:
            _keep(learner, path, key)


def _keep(learner: Learner, path: Path, key: str) -> None:
    """Save what can be saved: a full disk or a folder that is only read costs a fit, no more."""
    try:
        save_baseline(learner, path, key)
    except (OSError, SafetensorError) as error:
        log.warning("%s is not kept, and will be fitted again: %s", path, error)


def fit_key(learner: Learner, split: Split, n_items: int) -> str:
    """A hash of everything that a fit depends on: the log, the catalog size, the settings."""
    settings = {"class": type(learner).__name__, "items": n_items, **asdict(learner)}
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    digest.update(np.ascontiguousarray(split.log.offsets).data)
    digest.update(np.ascontiguousarray(split.log.items).data)
    if not isinstance(split, LeaveOneOut):  # there the log says what is held out
        digest.update(np.ascontiguousarray(split.train.offsets).data)
        digest.update(np.ascontiguousarray(split.before("valid")).data)
    if isinstance(learner, RatingBaseline) and split.log.ratings is not None:
        digest.update(np.ascontiguousarray(split.log.ratings).data)
    return digest.hexdigest()


def save_baseline(learner: Learner, path: Path, key: str = "") -> None:
    """Write what was learned to one safetensors file, with the key that it was fitted under."""
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = {name: np.ascontiguousarray(array) for name, array in learner.arrays().items()}
    with whole_file(path) as draft:
        save_file(arrays, draft, metadata={"key": key})


def load_baseline(learner: Learner, path: Path, key: str = "") -> bool:
    """Restore what was learned; False where there is no such file, or one that does not fit."""
    try:
        with safe_open(path, framework="numpy") as file:
            if (file.metadata() or {}).get("key") != key:
                return False
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        learner.restore(arrays)
    except (OSError, SafetensorError, KeyError, ValueError, RuntimeError, TypeError):
        return False  # it is a cache, and may be a stranger's: what does not fit is fitted anew
    return True
