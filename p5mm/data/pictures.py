"""Where an item's picture is: below one folder, and never out of it."""

import os
import stat
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from p5mm.errors import InputError

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff")
Picture = Path | bytes
Refused = list[tuple[int, str]]


def scan(folder: Path) -> dict[str, str]:
    """The pictures below a folder by id; hidden files and linked folders are passed over.

    An id is the path below the folder without suffix; where several pictures would share one,
    each keeps its suffix.

    Returns:
        Id to path below the folder, in the order of the paths.
    """
    files = _pictures(folder)
    ids = [os.path.splitext(name)[0] for name in files]
    while shared := {one for one, n in Counter(ids).items() if n > 1}:
        ids = [name if one in shared else one for one, name in zip(ids, files, strict=True)]
    return dict(zip(ids, files, strict=True))


def stem_pictures(item_ids: Sequence[str], folder: Path) -> tuple[list[Picture | None], Refused]:
    """The picture of each item by its stem, and the rows that are refused with their reasons."""
    best: dict[str, str] = {}
    for name in sorted(_pictures(folder), key=_preference):
        best.setdefault(os.path.splitext(name)[0], name)
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


def _preference(name: str) -> tuple[int, str]:
    return SUFFIXES.index(os.path.splitext(name)[1].lower()), name


def _pictures(folder: Path) -> list[str]:
    """Paths of the pictures below a folder, with "/", in order."""
    found = []
    for where, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        below = Path(where).relative_to(folder)
        for name in files:
            is_picture = os.path.splitext(name)[1].lower() in SUFFIXES
            if is_picture and not name.startswith(".") and _is_unicode(name):
                found.append((below / name).as_posix())
    return sorted(found)


def _is_unicode(name: str) -> bool:
    """False for names in another encoding, which no table can hold."""
    return not any("\ud800" <= letter <= "\udfff" for letter in name)


def _inside(names: Sequence[str | None], folder: Path) -> tuple[list[Picture | None], Refused]:
    """Absolute paths of what is below a folder; what is missing or leads out is refused."""
    root = os.path.realpath(folder)
    parents: dict[str, str | None] = {}
    pictures: list[Picture | None] = []
    refused: Refused = []
    for row, name in enumerate(names):
        found = None
        if name:
            try:
                found = Path(_place(name, root, parents))
            except (OSError, ValueError) as error:
                refused.append((row, str(error)))
        pictures.append(found)
    return pictures, refused


def _place(name: str, root: str, parents: dict[str, str | None]) -> str:
    """The real path of one picture. ``parents`` remembers the folders that were looked at.

    Raises:
        ValueError: It is not a file below the root; the message is the reason.
    """
    if "://" in name:
        raise ValueError(f"'{name[:200]}' is an address; fetch the picture and give its path")
    if os.path.isabs(name) or ".." in name.split("/"):
        raise ValueError(f"the path '{name[:200]}' leaves the picture folder")
    parent, leaf = os.path.split(os.path.join(root, name))
    if parent not in parents:
        real = os.path.realpath(parent)
        parents[parent] = real if _below(real, root) else None
    folder = parents[parent]
    if folder is None:
        raise ValueError(f"'{name[:200]}' is a link out of the picture folder")
    path = os.path.join(folder, leaf)
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
    return path


def _below(path: str, root: str) -> bool:
    return path == root or path.startswith(root.rstrip("/") + "/")
