"""Folders of somebody else, read as they stood at one moment and no farther than they reach."""

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from p5mm.errors import InputError
from p5mm.files import held, is_still

TRIES = 100  # how often a writer may come between

T = TypeVar("T")


def read_steadily(folder: str | Path, read: Callable[[Path], T]) -> T:
    """What ``read`` makes of a folder as it stood at one moment, while writers may replace it.

    Args:
        folder: Of a model or an index.
        read: Is given the folder, and is called again where it was replaced in the meantime.

    Raises:
        InputError: A link in the folder leads out of it, or there is a pipe or a device; or it is
            replaced faster than it can be read.
    """
    folder = Path(folder)
    for _ in range(TRIES):
        with held(folder) as version:
            try:
                refuse_ways_out(folder)
                value = read(folder)
            except Exception:
                if is_still(folder, version):
                    raise
                continue
            if is_still(folder, version):
                return value
    raise InputError(f"{folder} is replaced again and again while it is read; try again later")


def refuse_ways_out(folder: Path) -> None:
    """Refuse a folder with links that lead out of it, pipes or devices.

    Raises:
        InputError: There is one.
    """
    root = os.path.realpath(folder)
    for where, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = os.path.join(where, name)
            mode = os.lstat(path).st_mode
            inside = os.path.realpath(path).startswith(root + os.sep)
            plain = stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISLNK(mode)
            if not plain or not inside:
                raise InputError(
                    f"{path} is no plain file, or leads out of {folder}; only plain files in it "
                    "are read"
                )
