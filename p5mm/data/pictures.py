"""Where an item's pictures are: below one folder, and never out of it."""

import logging
import os
import stat
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from p5mm.encoders.values.part import FilePart
from p5mm.errors import InputError, counted, shown

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff")
WORTH_LISTING = 1000  # names from which a folder is listed, and its files are not asked one by one
Picture = Path | bytes | FilePart
Pictures = Picture | tuple[Picture, ...]  # one, or several of an item
Refused = list[tuple[int, str]]
_log = logging.getLogger(__name__)


def scan(folder: Path) -> dict[str, list[str]]:
    """The pictures below a folder by id; hidden files and linked folders are passed over.

    An id is the path below the folder without suffix, whatever else is there: ``1014.jpg`` and
    ``1014.png`` are two pictures of the item ``1014``.

    Returns:
        Id to paths below the folder, in the order of `SUFFIXES`; ids in their order.
    """
    names = _pictures(folder)
    named = _grouped(names, [os.path.splitext(name)[0] for name in names])
    return {item: named[item] for item in sorted(named)}


def stem_pictures(item_ids: Sequence[str], folder: Path) -> tuple[list[Pictures | None], Refused]:
    """The pictures of each item by their names, and the rows that are refused with their reasons.

    An item's pictures are those whose path below the folder, without suffix, is its id; where
    there are none, those in the sub-folder that is called so.
    """
    items = set(item_ids)
    names, owners, inside = [], [], []
    for name in _pictures(folder):
        stem, parent = os.path.splitext(name)[0], name.rpartition("/")[0]
        if stem in items:
            names.append(name)
            owners.append(stem)
        elif parent in items:
            inside.append((name, parent))
    plain = set(owners)
    for name, parent in inside:
        if parent not in plain:
            names.append(name)
            owners.append(parent)
    named = _grouped(names, owners)
    return placed([named.get(item) for item in item_ids], folder)


def column_pictures(
    column: pa.ChunkedArray, folder: Path | None
) -> tuple[Sequence[Pictures | None], Refused]:
    """The pictures of each row of a column of bytes, of paths below a folder, or of lists of these.

    Raises:
        InputError: The column holds neither, or paths without a folder.
    """
    kind = column.type
    lists = pa.types.is_list(kind) or pa.types.is_large_list(kind)
    lists = lists or pa.types.is_fixed_size_list(kind)
    kind = kind.value_type if lists else kind
    if pa.types.is_null(kind):
        return [None] * len(column), []
    cells = column.to_pylist()
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        if not lists:
            return [cell or None for cell in cells], []
        return [several([one for one in cell or () if one]) for cell in cells], []
    if not pa.types.is_string(kind):
        raise InputError(
            f"the column 'image' is {column.type}; give paths or bytes of pictures, or lists"
        )
    if folder is None:
        raise InputError("the column 'image' has paths; say below which folder with --images DIR")
    names = [list(cell or ()) if lists else [cell] for cell in cells]
    return placed([list(dict.fromkeys(filter(None, some))) for some in names], folder)


def placed(
    names: Sequence[Sequence[str] | None], folder: Path
) -> tuple[list[Pictures | None], Refused]:
    """The pictures of each row by their names below a folder, and what is refused of them."""
    owners = [row for row, some in enumerate(names) for _ in some or ()]
    every, refused = _inside([name for some in names for name in some or ()], folder)
    found: list[list[Picture]] = [[] for _ in names]
    for row, picture in zip(owners, every, strict=True):
        if picture is not None:
            found[row].append(picture)
    return [several(some) for some in found], [(owners[place], why) for place, why in refused]


def several(pictures: Sequence[Picture]) -> Pictures | None:
    """One picture by itself, several as a tuple, none as None."""
    if len(pictures) < 2:
        return pictures[0] if pictures else None
    return tuple(pictures)


def first_picture(pictures: Pictures | None) -> Picture | None:
    """The picture that stands for an item where one is shown."""
    return pictures[0] if isinstance(pictures, tuple) else pictures


def _grouped(names: Sequence[str], owners: Sequence[str]) -> dict[str, list[str]]:
    """Names by their owners, of each in the order of the suffixes; says where there are several."""
    grouped: dict[str, list[str]] = {}
    for name, owner in zip(names, owners, strict=True):
        grouped.setdefault(owner, []).append(name)
    more = {owner: sorted(of, key=_preference) for owner, of in grouped.items() if len(of) > 1}
    if more:
        owner = min(more)
        _log.info(
            "%s several pictures, %s in all, such as '%s': %s%s; the vector of an item "
            "is their mean",
            counted(len(more), "item has", "items have"),
            f"{sum(map(len, more.values())):,}",
            shown(owner),
            ", ".join(map(shown, more[owner][:3])),
            ", ..." if len(more[owner]) > 3 else "",
        )
    return grouped | more


def _preference(name: str) -> tuple[str, int, str]:
    stem, suffix = os.path.splitext(name)
    return stem, SUFFIXES.index(suffix.lower()), name


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
            "left out below %s: %s with a name that is not UTF-8: %s%s; rename what is left out",
            folder,
            counted(len(unreadable), "picture"),
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
