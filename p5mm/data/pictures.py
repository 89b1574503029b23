"""Where an item's picture is: below one folder, and never out of it."""

import logging
import os
import stat
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from p5mm.errors import InputError, shown

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff")
WORTH_LISTING = 1000  # names from which a folder is listed, and its files are not asked one by one
Picture = Path | bytes
Refused = list[tuple[int, str]]
_log = logging.getLogger(__name__)


def scan(folder: Path) -> dict[str, str]:
    """The pictures below a folder by id; hidden files and linked folders are passed over.

    An id is the path below the folder without suffix, whatever else is there: ``1014.jpg`` and
    ``1014.png`` are two pictures of the item ``1014``. The first in the order of `SUFFIXES` is
    used; a warning names those that are not.

    Returns:
        Id to path below the folder, in the order of the ids.
    """
    best = _best(_pictures(folder))
    return {item: best[item] for item in sorted(best)}


def stem_pictures(item_ids: Sequence[str], folder: Path) -> tuple[list[Picture | None], Refused]:
    """The picture of each item by its stem, and the rows that are refused with their reasons.

    Of several pictures of an item that is used which `scan` uses.
    """
    items = set(item_ids)
    best = _best([name for name in _pictures(folder) if os.path.splitext(name)[0] in items])
    return _inside([best.get(item) for item in item_ids], folder)


def column_pictures(
    column: pa.ChunkedArray, folder: Path | None
) -> tuple[Sequence[Picture | None], Refused]:
    """The picture of each row of a column of bytes, or of paths below a folder.

    Raises:
        InputError: The column holds neither, or paths without a folder.
    """
    if pa.types.is_null(column.type):
        return [None] * len(column), []
    if pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type):
        return [cell or None for cell in column.to_pylist()], []
    if not pa.types.is_string(column.type):
        raise InputError(f"the column 'image' is {column.type}; give paths or bytes of pictures")
    if folder is None:
        raise InputError("the column 'image' has paths; say below which folder with --images DIR")
    return _inside(column.to_pylist(), folder)


def _best(names: Sequence[str]) -> dict[str, str]:
    """Of the pictures of each stem the first by suffix; a warning says which were passed over."""
    best: dict[str, str] = {}
    passed: list[str] = []
    for name in names:
        stem = os.path.splitext(name)[0]
        if best.setdefault(stem, name) != name:
            best[stem], worse = sorted((best[stem], name), key=_preference)
            passed.append(worse)
    if passed:
        some = ", ".join(
            f"{shown(name)} (used: {shown(best[os.path.splitext(name)[0]])})"
            for name in sorted(passed, key=_preference)[:5]
        )
        more = ", ..." if len(passed) > 5 else ""
        _log.warning(
            "%d pictures are passed over, of items that have another with the same name: %s%s",
            len(passed),
            some,
            more,
        )
    return best


def _preference(name: str) -> tuple[int, str]:
    return SUFFIXES.index(os.path.splitext(name)[1].lower()), name


def _pictures(folder: Path) -> list[str]:
    """Paths of the pictures below a folder, with "/", in order."""
    pictures: list[str] = []
    unreadable: list[str] = []
    for where, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        below = Path(where).relative_to(folder).as_posix()
        prefix = "" if below == "." else f"{below}/"
        for name in files:
            if name.lower().endswith(SUFFIXES) and not name.startswith("."):
                path = prefix + name
                (pictures if _is_unicode(path) else unreadable).append(path)
    if unreadable:
        _log.warning(
            "%d pictures below %s are left out, their names are not UTF-8: %s%s; rename them",
            len(unreadable),
            folder,
            ", ".join(_escaped(path) for path in sorted(unreadable)[:5]),
            ", ..." if len(unreadable) > 5 else "",
        )
    return sorted(pictures)


def _escaped(path: str) -> str:
    r"""A path with its odd bytes as ``\xe9``."""
    return shown(os.fsencode(path).decode("utf-8", "backslashreplace"))


def _is_unicode(name: str) -> bool:
    """False for names in another encoding, which no table can hold."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


@dataclass(frozen=True)
class _Folder:
    """A folder of pictures.

    Attributes:
        path: Its real path.
        plain: Names of plain files in it, as far as it was listed.
    """

    path: Path
    plain: frozenset[str]


def _inside(names: Sequence[str | None], folder: Path) -> tuple[list[Picture | None], Refused]:
    """Absolute paths of what is below a folder; what is missing or leads out is refused."""
    root = os.path.realpath(folder)
    folders: dict[str, _Folder | None] = {}
    pictures: list[Picture | None] = []
    refused: Refused = []
    for row, name in enumerate(names):
        picture = None
        if name:
            try:
                if "://" in name:
                    told = "is an address; fetch the picture and give its path"
                    raise ValueError(f"'{name[:200]}' {told}")
                parent, _, leaf = name.rpartition("/")
                if parent not in folders:
                    folders[parent] = _listed(parent, root, len(names))
                picture = _place(name, leaf, folders[parent], root)
            except (OSError, ValueError) as error:
                refused.append((row, shown(str(error))))
        pictures.append(picture)
    return pictures, refused


def _listed(parent: str, root: str, names: int) -> _Folder | None:
    """A folder below the root; its files where many are asked for. None where it leads out."""
    real = os.path.realpath(os.path.join(root, parent))
    if not _below(real, root):
        return None
    plain: frozenset[str] = frozenset()
    if names >= WORTH_LISTING and os.path.isdir(real):
        with suppress(PermissionError), os.scandir(real) as entries:
            plain = frozenset(e.name for e in entries if e.is_file(follow_symlinks=False))
    return _Folder(Path(real), plain)


def _place(name: str, leaf: str, folder: _Folder | None, root: str) -> Path:
    """The real path of one picture.

    Raises:
        ValueError: It is not a file below the root; the message is the reason.
    """
    if name.startswith("/") or (".." in name and ".." in name.split("/")):
        raise ValueError(f"the path '{name[:200]}' leaves the picture folder")
    if folder is None:
        raise ValueError(f"'{name[:200]}' is a link out of the picture folder")
    if leaf in folder.plain:
        return folder.path / leaf
    path = os.path.join(folder.path, leaf)
    try:
        mode = os.lstat(path).st_mode
        if stat.S_ISLNK(mode):
            path = os.path.realpath(path, strict=True)
            mode = os.stat(path).st_mode
    except (OSError, ValueError):
        raise ValueError(f"no such file: '{name[:200]}'") from None
    if not _below(path, root):
        raise ValueError(f"'{name[:200]}' is a link out of the picture folder")
    if not stat.S_ISREG(mode):
        raise ValueError(f"'{name[:200]}' is no plain file")
    return Path(path)


def _below(path: str, root: str) -> bool:
    return path == root or path.startswith(root.rstrip("/") + "/")
