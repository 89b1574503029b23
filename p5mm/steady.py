"""Folders that several read and write: read as they stood at one moment, and replaced in turn."""

import fcntl
import logging
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from p5mm.errors import InputError
from p5mm.files import held, is_still, made, sweep

TRIES = 100  # how often a writer may come between

T = TypeVar("T")

log = logging.getLogger(__name__)


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


def replaced_in_turn(folder: str | Path, prepare: Callable[[], Callable[[], T]]) -> T:
    """Replace a folder by what was worked out from it; nothing of another writer is lost.

    The work, which may take hours, keeps nobody out. Where another writer has replaced the folder
    in the meantime, the work is done again from what he left.

    Args:
        folder: That is replaced; there need be none yet.
        prepare: The work; gives what writes the folder.

    Returns:
        What the writing gives.

    Raises:
        InputError: Others replace it faster than the work is done.
    """
    folder = Path(os.path.realpath(folder))
    for _ in range(TRIES):
        with held(folder) as version:
            write = prepare()
            with alone(folder):
                if is_still(folder, version) or (version is None and not any(folder.iterdir())):
                    return write()
        log.warning("%s was replaced by another writer in the meantime; begun again", folder)
    raise InputError(f"{folder} is replaced again and again by other writers; try again later")


@contextmanager
def alone(folder: str | Path) -> Iterator[None]:
    """No other writer of a folder until the block ends; who comes later waits, and is told so.

    The folder is made where it is missing, and goes again after an error. What a writer who was
    killed has left beside it is cleared up.
    """
    folder = Path(os.path.realpath(folder))
    with suppress(FileNotFoundError):  # the folder above is still to be made
        sweep(folder)
    with made(folder):
        lock = _turn(folder)
        try:
            yield
        finally:
            os.close(lock)


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


def _turn(folder: Path) -> int:
    """The lock on a folder, as it is when the lock is had."""
    while True:
        with suppress(FileNotFoundError):  # its maker gave up
            folder.mkdir(exist_ok=True)
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            _wait(lock, folder)
            if is_still(folder, os.fstat(lock)):
                return lock
            os.close(lock)


def _wait(lock: int, folder: Path) -> None:
    with suppress(OSError):  # a file system without locks
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log.warning("another writer is at %s; waiting until it has ended", folder)
            fcntl.flock(lock, fcntl.LOCK_EX)
