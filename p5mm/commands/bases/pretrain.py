"""Pretrain a base on several catalogs and logs.

It knows items by their content alone, so that `p5mm train --model.base BASE` can begin from it in
any shop. Dotted keys such as --train.epochs 3 override the preset. An interrupted pretraining goes
on when the same command is given again.
"""

import argparse
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from p5mm.commands.options import tell_keys
from p5mm.commands.output import add_force
from p5mm.config import Config, sections
from p5mm.errors import InputError
from p5mm.terminal import say

if TYPE_CHECKING:
    from p5mm.data.dataset import Dataset
    from p5mm.model.base import Base

TAKES_MORE = True  # dotted keys of the configuration


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``p5mm pretrain``."""
    parser.add_argument("config", help="a YAML file, or the name of a preset: pretrain")
    parser.add_argument(
        "--data", metavar="DIR", action="append", required=True,
        help="folder of a catalog and its log; once for each",
    )  # fmt: skip
    parser.add_argument(
        "--reviews", metavar="FILE",
        help="a table of reviews (review, headline, rating, timestamp) whose headlines and stars "
        "the T5 learns to write",
    )  # fmt: skip
    parser.add_argument("--out", required=True, metavar="DIR", help="folder of the base")
    add_force(parser)
    tell_keys(parser, sections())


def run(options: argparse.Namespace) -> None:
    """Pretrain, or go on with a pretraining that was interrupted."""
    pretrain(
        options.config, options.data, options.out, options.overrides, options.force,
        options.reviews,
    )  # fmt: skip


def pretrain(
    config: str | Path,
    data: Sequence[str],
    out: str | Path,
    overrides: Sequence[str] = (),
    force: bool = False,
    reviews: str | Path | None = None,
) -> "Base":
    """Pretrains a base by a configuration and saves it; goes on where it was interrupted.

    Args:
        config: A YAML file, or the name of a preset.
        data: Folder of each catalog with its log.
        out: The base's folder.
        overrides: Dotted keys and their values.
        force: Replace whatever is in ``out``.
        reviews: A table of reviews that the T5 learns to read.

    Raises:
        InputError: The configuration or the data cannot be used, or ``out`` holds something else.
    """
    from p5mm.encoders.store import FeatureStore
    from p5mm.model.base import check_base_target, is_base
    from p5mm.presets import read_config
    from p5mm.pretraining.pretrain import pretrain
    from p5mm.pretraining.review_table import ReviewTable

    folder = Path(out)
    if is_base(folder) and not force:
        raise InputError(
            f"{folder} holds a finished base; give another --out, or --force to pretrain it anew"
        )
    check_base_target(folder, force)
    settings = read_config(config, overrides)
    if settings.model.base is not None:
        raise InputError("a base begins from nothing: leave out model.base")
    start = time.perf_counter()
    table = None if reviews is None else ReviewTable.read(reviews)
    opened, kept = _opened(data, settings), folder / "checkpoint"
    base = pretrain(opened, settings, FeatureStore(), kept, table)
    base.write(folder, force)
    told = (f"{of.name}: validation ndcg@10 {of.ndcg:.4f} by content alone" for of in base.learned)
    say(*told, f"{folder}: done in {time.perf_counter() - start:.0f} s")
    return base


def _opened(folders: Sequence[str], config: Config) -> dict[str, "Dataset"]:
    """The data of each folder under the folder's name."""
    from p5mm.data.dataset import open_dataset

    datasets: dict[str, Dataset] = {}
    for folder in folders:
        name = Path(folder).resolve().name
        if name in datasets:
            raise InputError(
                f"two folders of data are called '{name}'; rename one, their names tell them apart"
            )
        datasets[name] = open_dataset(replace(config.data, root=folder))
    return datasets
