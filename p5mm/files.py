"""Files and folders that are written whole or not at all, and stay written after a power cut."""

import ctypes
import errno
import fcntl
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

EXCHANGE = 2  # RENAME_EXCHANGE of Linux
AT_CURRENT_FOLDER = -100


@contextmanager
def whole_file(target: str | Path) -> Iterator[Path]:
    """A draft beside ``target`` that takes its place when the block ends well.

    After an error, or a kill, ``target`` is what it was before.
    """
    target = Path(target).absolute()
    _sweep(target)
    descriptor, name = tempfile.mkstemp(target.suffix, _prefix(target), target.parent)
    draft = Path(name)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        yield draft
        draft.chmod(0o666 & ~_umask())
        _sync(draft)
        draft.replace(target)
        _sync(target.parent)
    finally:
        draft.unlink(missing_ok=True)
        os.close(descriptor)


@contextmanager
def whole_folder(target: str | Path) -> Iterator[Path]:
    """A draft folder beside ``target`` that takes its place when the block ends well.

    After an error, or a kill, ``target`` is what it was before; where the system can exchange two
    folders at once (Linux), there is no moment without it.
    """
    target = Path(target).absolute()
    target.parent.mkdir(parents=True, exist_ok=True)
    _sweep(target)
    draft = Path(tempfile.mkdtemp(dir=target.parent, prefix=_prefix(target)))
    lock = os.open(draft, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        yield draft
        _open_to_readers(draft)
        _exchange(draft, target)
        _sync(target.parent)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
        os.close(lock)


def _prefix(target: Path) -> str:
    return f".{target.name}.draft-"


def _sweep(target: Path) -> None:
    """Remove the drafts of writers that were killed: whoever is alive holds a lock on his."""
    drafts = [name for name in os.listdir(target.parent) if name.startswith(_prefix(target))]
    for draft in (target.parent / name for name in drafts):
        try:
            descriptor = os.open(draft, os.O_RDONLY)
        except OSError:
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(draft) if draft.is_dir() else draft.unlink(missing_ok=True)
        except OSError:
            continue
        finally:
            os.close(descriptor)


def _open_to_readers(folder: Path) -> None:
    """Give files and folders the rights that the umask leaves, and write them to the disk."""
    mask = _umask()
    for where, _, names in os.walk(folder, topdown=False):
        for name in names:
            os.chmod(os.path.join(where, name), 0o666 & ~mask)
            _sync(Path(where, name))
        os.chmod(where, 0o777 & ~mask)
        _sync(Path(where))


def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _exchange(draft: Path, target: Path) -> None:
    """Moves ``draft`` to ``target``; leaves the old folder, if any, in the place of ``draft``."""
    if not target.exists():
        draft.rename(target)
    elif not _exchanged_at_once(draft, target):
        old = draft.with_name(draft.name + ".old")
        target.rename(old)
        try:
            draft.rename(target)
        except OSError:
            old.rename(target)
            raise
        old.rename(draft)


def _exchanged_at_once(draft: Path, target: Path) -> bool:
    """Whether the system has exchanged the two; False where it cannot."""
    if sys.platform != "linux":
        return False
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        return False
    here = AT_CURRENT_FOLDER
    if rename(here, os.fsencode(draft), here, os.fsencode(target), EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code in (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP):
        return False
    raise OSError(code, os.strerror(code), str(target))
