"""Files and folders that are written whole or not at all, and stay written after a power cut."""

import ctypes
import errno
import fcntl
import hashlib
import os
import re
import secrets
import shutil
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from p5mm.errors import InputError

EXCHANGE = 2  # RENAME_EXCHANGE of Linux
AT_CURRENT_FOLDER = -100
CANNOT_EXCHANGE = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EPERM)
TRIES = 100  # how often another writer may come between
OLD = ".old"
BLOCK = 2**16  # a disk with less room than this is full


@contextmanager
def whole_file(target: str | Path) -> Iterator[Path]:
    """A draft that takes the place of ``target`` when the block ends well.

    After an error, or a kill, ``target`` is what it was before.

    Raises:
        InputError: There is a folder, a pipe or a device.
        OSError: It cannot be written; the error names the file.
    """
    target = Path(os.path.realpath(target))
    if not _free_for(target, stat.S_ISREG):
        raise InputError(f"{target} is no plain file and cannot be replaced by one; give another")
    with _draft(target) as folder, _naming(folder / target.name, target):
        draft = folder / target.name
        yield draft
        _settle(folder)
        draft.replace(target)
        _sync(target.parent)


@contextmanager
def whole_folder(target: str | Path) -> Iterator[Path]:
    """A draft folder that takes the place of ``target`` when the block ends well.

    After an error, or a kill, ``target`` is what it was before; where the system can exchange two
    folders at once (Linux), there is no moment without it.

    Raises:
        InputError: There is a file.
        OSError: It cannot be written; the error names the folder.
    """
    target = Path(os.path.realpath(target))
    if not _free_for(target, stat.S_ISDIR):
        raise InputError(f"{target} is a file and cannot be replaced by a folder; give another")
    with made(target.parent), _draft(target) as folder:
        yield folder
        _settle(folder)
        _place(folder, target)
        _sync(target.parent)


@contextmanager
def writing(path: str | Path, *kinds: type[Exception]) -> Iterator[None]:
    """Turns the errors that a library has of its own into an OSError that names the file."""
    try:
        yield
    except OSError:
        raise
    except kinds as error:
        code = re.search(r"\(os error (\d+)\)", str(error))  # as Rust tells it
        number = int(code[1]) if code else 0
        if number or shutil.disk_usage(Path(path).parent).free < BLOCK:
            number = number or errno.ENOSPC
            raise OSError(number, os.strerror(number), str(path)) from error
        raise OSError(f"{path} could not be written: {error}") from error


def refuse_other_output(
    path: str | Path, is_same_kind: Callable[[Path], bool], what: str, force: bool = False
) -> None:
    """Refuse to put an output where something else is, or where nothing may be written.

    Args:
        path: Where a file or a folder is to be written.
        is_same_kind: Whether what is there is an earlier output of the same kind.
        what: The kind, for the message: "model of p5mm".
        force: Replace whatever is there.

    Raises:
        InputError: Something else is there, and is not empty; the folder may only be read.
    """
    path = Path(path)
    above = path.absolute().parents or (path,)
    folder = next(parent for parent in above if parent.is_dir())
    if not os.access(folder, os.W_OK):
        raise InputError(f"{path} cannot be written: its folder may only be read; give another")
    if force or not path.exists():
        return
    empty = not any(path.iterdir()) if path.is_dir() else path.is_file() and not path.stat().st_size
    if not empty and not is_same_kind(path):
        raise InputError(
            f"{path} exists and is no {what}; nothing was written. Give another place, or replace "
            "it with --force (in Python force=True)"
        )


def holds_only(folder: Path, names: set[str]) -> bool:
    """Whether ``folder`` is a folder and nothing but these names is in it."""
    return folder.is_dir() and {path.name for path in folder.iterdir()} <= names


def link(source: Path, target: Path) -> None:
    """A file, or all files of a folder, under a second name; copied where there are no links."""
    if source.is_dir():
        shutil.copytree(source, target, copy_function=_link_file)
    else:
        _link_file(source, target)


@contextmanager
def held(folder: Path) -> Iterator[os.stat_result | None]:
    """What a folder is, kept from being anything else; None where there is none.

    While it is held open, no later folder can have its number.
    """
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        yield None
        return
    try:
        yield os.fstat(descriptor)
    finally:
        os.close(descriptor)


def is_still(folder: Path, held: os.stat_result | None) -> bool:
    """Whether a path leads to what was ``held`` before; None stands for nothing at all."""
    try:
        now = os.stat(folder)
    except OSError:
        return held is None
    return held is not None and os.path.samestat(now, held)


@contextmanager
def made(folder: Path) -> Iterator[None]:
    """The folder, made where it is missing; what was made goes again after an error."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException:
        for path in missing:
            with suppress(OSError):
                path.rmdir()
        raise


def sweep(target: Path) -> None:
    """Remove the drafts of writers that were killed: whoever is alive holds a lock on his."""
    ours = re.compile(re.escape(_prefix(target)) + r"[0-9a-f]{8}(\.old)?")
    names = sorted(filter(ours.fullmatch, os.listdir(target.parent)), reverse=True)
    for draft in (target.parent / name for name in names):
        with suppress(OSError):
            descriptor = os.open(draft, os.O_RDONLY)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if draft.name.endswith(OLD) and not target.exists():
                    draft.rename(target)  # its writer was killed between two renames
                else:
                    shutil.rmtree(draft)
            finally:
                os.close(descriptor)


def _link_file(source: str | Path, target: str | Path) -> Any:
    try:
        os.link(source, target)
    except OSError:  # other file systems, too many links: what is wrong shows in the copy, too
        shutil.copy2(source, target)
    return target


def _free_for(target: Path, kind: Callable[[int], bool]) -> bool:
    """Whether nothing is there, or the right kind; one look, for other writers come and go."""
    try:
        return kind(os.stat(target).st_mode)
    except FileNotFoundError:
        return True


@contextmanager
def _draft(target: Path) -> Iterator[Path]:
    """A new folder beside ``target``, locked while its writer lives, gone after the block."""
    with _naming(target.parent, target):
        sweep(target)
        draft, lock = _locked_folder(target)
    try:
        with _naming(draft, target):
            yield draft
    finally:
        shutil.rmtree(draft, ignore_errors=True)
        os.close(lock)


@contextmanager
def _naming(draft: Path, target: Path) -> Iterator[None]:
    """OSErrors about a draft name the file that was to be written."""
    try:
        yield
    except OSError as error:
        if error.filename is None:  # of write() itself, or of a library
            if error.errno is not None:
                raise OSError(error.errno, os.strerror(error.errno), str(target)) from error
            told = str(error).replace(str(draft), str(target))
            raise OSError(told if str(target) in told else f"{target}: {told}") from error
        name = str(error.filename)
        if not name.startswith(str(draft)):
            raise
        wanted = str(target) if draft == target.parent else name.replace(str(draft), str(target))
        raise OSError(error.errno or errno.EIO, error.strerror, wanted) from error


def _prefix(target: Path) -> str:
    name = target.name
    if len(os.fsencode(name)) > 200:  # a name ends at 255 bytes
        name = hashlib.blake2b(os.fsencode(name), digest_size=16).hexdigest()
    return f".{name}.draft-"


def _locked_folder(target: Path) -> tuple[Path, int]:
    while True:
        draft = target.with_name(_prefix(target) + secrets.token_hex(4))
        draft.mkdir()  # with the rights that the umask leaves
        try:
            lock = os.open(draft, os.O_RDONLY)
        except FileNotFoundError:  # another writer swept it before it was locked
            continue
        with suppress(OSError):  # a file system without locks: nothing is swept there either
            fcntl.flock(lock, fcntl.LOCK_EX)
        if is_still(draft, os.fstat(lock)):
            return draft, lock
        os.close(lock)


def _settle(folder: Path) -> None:
    """Give every file the rights that the umask leaves, and write all to the disk."""
    rights = stat.S_IMODE(folder.stat().st_mode) & 0o666
    for where, _, names in os.walk(folder, topdown=False):
        for name in names:
            path = os.path.join(where, name)
            if os.stat(path).st_nlink > 1:  # of the version before, whose rights are its own
                continue
            os.chmod(path, rights)  # libraries make theirs 0600
            _sync(path)
        _sync(where)


def _sync(path: str | Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:  # some file systems cannot do it for folders
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def _place(draft: Path, target: Path) -> None:
    """Move ``draft`` to ``target``; what was there before takes the place of ``draft``."""
    for _ in range(TRIES):  # other writers may put or take theirs between any two steps
        try:
            if not target.exists():
                draft.rename(target)
            elif not _exchanged_at_once(draft, target):
                _exchanged_in_turn(draft, target)
            return
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTEMPTY, errno.EEXIST):
                raise
    raise OSError(errno.EBUSY, "is replaced again and again by other writers", str(target))


def _exchanged_in_turn(draft: Path, target: Path) -> None:
    old = draft.with_name(draft.name + OLD)
    lock = os.open(target, os.O_RDONLY)
    try:
        with suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # or a sweep takes it for a dead one's
        target.rename(old)
        try:
            draft.rename(target)
        except OSError:
            if target.exists():
                shutil.rmtree(old, ignore_errors=True)
            else:
                old.rename(target)
            raise
        with suppress(FileNotFoundError):  # another writer cleared it up
            old.rename(draft)
    finally:
        os.close(lock)


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
    if code in CANNOT_EXCHANGE:
        return False
    raise OSError(code, os.strerror(code), str(target))
