"""A data set: the catalog and the log, wherever they are."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from p5mm.config import DataConfig
from p5mm.data.catalog import Catalog
from p5mm.data.interactions import Interactions
from p5mm.data.readers import READERS, detect
from p5mm.data.readers.source import Source
from p5mm.errors import InputError, counted, shown, unknown

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Dataset:
    """A catalog and who took what of it.

    Attributes:
        catalog: All items.
        interactions: What a model learns from: items of the catalog, after the k-core.
        log: Every interaction that was read.
    """

    catalog: Catalog
    interactions: Interactions
    log: Interactions

    def renumbered(self, seed: int) -> "Dataset":
        """The same data with its items in random order, named by their places: no metric may care.

        Interactions with items that are not in the catalog are left out.
        """
        ids, pictures = self.catalog.item_ids, self.catalog.pictures
        order = np.random.default_rng(seed).permutation(len(ids))
        names = {ids[row]: f"item{place:07d}" for place, row in enumerate(order)}
        moved = None if pictures is None else [pictures[row] for row in order]
        table = _renamed(self.catalog.table.take(pa.array(order)), names)
        learned, log = (
            Interactions(_renamed(events.known(ids).table, names))
            for events in (self.interactions, self.log)
        )
        catalog = Catalog(table, self.catalog.text, moved, images=self.catalog.images)
        return Dataset(catalog, learned, log)


def open_dataset(config: DataConfig, first_day: bool = False) -> Dataset:
    """Read the data that a config names.

    Args:
        config: Where it is.
        first_day: A folder with a catalog and no log will do.

    Raises:
        InputError: A path does not exist, or what is there cannot be used.
    """
    if config.k_core < 0:
        raise InputError(f"k_core is {config.k_core}; give 0 (keep all) or more")
    source = _source(config)
    items = source.catalog or source.table("catalog", "items")
    if first_day and items is not None and detect(source) is None:
        return Dataset(source.read_catalog(items), Interactions.empty(), Interactions.empty())
    name = _reader(config.reader, source)
    catalog, log = READERS[name](source)
    if config.shuffle_ties is not None:
        log = log.shuffled_ties(config.shuffle_ties)
    interactions = log.known(catalog.item_ids)
    if len(interactions) < len(log):
        _log.warning(
            "left out: %s of %d, with items that are not in the catalog",
            counted(len(log) - len(interactions), "interaction"),
            len(log),
        )
    if catalog.quarantine:
        item, reason = catalog.quarantine[0]
        _log.warning(
            "%s left out, the first of item %s: %s",
            counted(len(catalog.quarantine), "picture is", "pictures are"),
            shown(item),
            shown(reason),
        )
    return Dataset(catalog, interactions.core(config.k_core), log)


def _renamed(table: pa.Table, names: Mapping[str, str]) -> pa.Table:
    column = pa.array([names[item] for item in table["item_id"].to_pylist()], pa.string())
    return table.set_column(table.column_names.index("item_id"), "item_id", column)


def _reader(given: str, source: Source) -> str:
    if given != "auto":
        if given not in READERS:
            raise unknown("reader", given, ["auto", *READERS])
        return given
    name = detect(source)
    if name is None:
        catalog = source.catalog or source.table("catalog", "items")
        if catalog is not None and source.root is not None:
            raise InputError(
                f"{catalog} is a catalog, and no interactions are beside it. Name them (--data."
                "interactions FILE); or let a base recommend without any: --model.base BASE "
                "--train.epochs 0, where p5mm pretrain makes a base"
            )
        raise InputError(
            f"no data of a known form is in {source.root}: u.data (MovieLens), "
            "sequential_data.txt and datamaps.json (P5), interactions.* or ratings.* (tables) or "
            "a .txt of lines 'user item item ...' is looked for. Give the folder with "
            "--data FOLDER, or name the files: catalog: FILE and interactions: FILE"
        )
    _log.info("%s is read as %s", source.interactions or source.root, name)
    return name


def _source(config: DataConfig) -> Source:
    root = None
    if config.root is not None:
        root = Path(config.root)
        if not root.is_dir():
            kind = "is a file, no folder" if root.exists() else "does not exist"
            raise InputError(f"the data folder {root} {kind}; give another with --data FOLDER")
    elif config.interactions is None:
        raise InputError("no data is named; give its folder with --data FOLDER")
    return Source(
        root,
        _path(config.catalog, root, "catalog"),
        _path(config.interactions, root, "interactions"),
        _path(config.images, root, "images"),
        config.text,
    )


def _path(given: str | None, root: Path | None, key: str) -> Path | None:
    if given is None:
        return None
    path = root / given if root else Path(given)
    if not path.exists():
        raise InputError(f"there is no {path}; check '{key}: {given}'")
    return path
