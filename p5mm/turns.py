"""Writers of one folder take turns, and what one works out from it is of the folder he replaces."""

import fcntl
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from p5mm.errors import InputError
from p5mm.files import held, is_still, made, sweep

TRIES = 100  # how often another writer may come between

T = TypeVar("T")

log = logging.getLogger(__name__)


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
