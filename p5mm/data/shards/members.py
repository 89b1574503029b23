"""The files in a tar and where their bytes are; tars come from strangers, nothing is unpacked."""

import stat
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

from p5mm.encoders.values.part import Archive, FilePart, check_size
from p5mm.errors import InputError

MOST_HEADER = 1 << 20  # bytes of a long name or of pax fields; tarfile would read any number
BLOCK = 512
ZIPPED = {
    b"\x1f\x8b": "gzip -d",
    b"BZh": "bzip2 -d",
    b"\xfd7zXZ": "xz -d",
    b"\x28\xb5\x2f\xfd": "zstd -d",
}


@dataclass(frozen=True)
class Member:
    """A file in a tar.

    Attributes:
        key: Of the item: its folders, and its name up to the first dot.
        suffix: The rest of its name, in small letters, without the first dot.
        part: Where its bytes are.
        refused: Why it is not used, "" where it is.
    """

    key: str
    suffix: str
    part: FilePart
    refused: str = ""


@dataclass(frozen=True)
class Damage:
    """What is wrong with a tar, or with a member that is no item's."""

    what: str


def members(path: Path) -> Iterator[Member | Damage]:
    """The files in a tar in their order; folders and hidden files are passed over.

    Of a tar that was cut, those that are whole; the one that was cut is refused, and a `Damage`
    says what is missing.

    Raises:
        InputError: It is zipped, no tar, or cannot be read.
    """
    try:
        archive = Archive.of(path)
        with path.open("rb") as file:
            _check_head(file, path)
            yield from _walked(file, archive)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error


def _walked(file: IO[bytes], archive: Archive) -> Iterator[Member | Damage]:
    try:
        tar = tarfile.open(fileobj=cast(IO[bytes], _Bounded(file)), mode="r:")  # noqa: SIM115
    except Exception as error:  # a stranger's header may break tarfile in any way
        raise InputError(f"{archive.path} is no tar ({error}); write it again") from error
    count, end = 0, 0
    while True:
        try:
            info = tar.next()
            tar.members.clear()  # type: ignore[attr-defined]  # it keeps all that it has read
        except Exception as error:
            yield Damage(_cut(archive, count, end, f" ({error})"))
            return
        if info is None:
            break
        if info.size < 0 or tar.offset <= end:
            yield Damage(_cut(archive, count, end, " (a size below 0)"))
            return
        count, end = count + 1, tar.offset
        yield from _member(info, archive)
    if not _ends_well(file, end):
        yield Damage(_cut(archive, count, end))


def _cut(archive: Archive, count: int, end: int, why: str = "") -> str:
    place = f"at byte {min(end, archive.size):,} of {archive.size:,}"
    told = f"{archive.path} is cut or damaged behind {count:,} files, {place}{why}"
    return f"{told}; what should follow is missing"


def _member(info: tarfile.TarInfo, archive: Archive) -> Iterator[Member | Damage]:
    name = info.name
    while name.startswith("./"):
        name = name[2:]
    folders = name.split("/")
    if info.isdir() or any(part.startswith(".") and part != ".." for part in folders):
        return
    wrong = _wrong_name(name, folders)
    if wrong:
        yield Damage(f"{archive.path}: '{name[:200]}' {wrong}")
        return
    base, _, suffix = folders[-1].partition(".")
    key = "/".join([*folders[:-1], base])
    part = FilePart(archive, name, info.offset_data, max(0, info.size))
    yield Member(key, suffix.lower(), part, _refusal(info, part))


def _wrong_name(name: str, folders: list[str]) -> str:
    if name.startswith("/") or ".." in folders:
        return "leads out of the tar"
    try:
        name.encode()
    except UnicodeEncodeError:
        return "is no name in UTF-8"
    return "is no name" if "\0" in name or not folders[-1] else ""


def _refusal(info: tarfile.TarInfo, part: FilePart) -> str:
    name = f"{part.archive.path.name}/{part.name[:200]}"
    if not info.isreg() or info.issparse() or info.type not in tarfile.SUPPORTED_TYPES:
        kinds = {"a link": info.islnk() or info.issym(), "a device or pipe": info.isdev(),
                 "a sparse file": info.issparse()}  # fmt: skip
        kind = next((kind for kind, there in kinds.items() if there), "of an unknown kind")
        return f"'{name}' is {kind}, and no plain file"
    if part.start + part.size > part.archive.size:
        return f"the tar ends in the middle of '{name}'"
    try:
        check_size(part.size)
    except ValueError as error:
        return f"'{name}' has {error}"
    return ""


def _check_head(file: IO[bytes], path: Path) -> None:
    head = file.read(BLOCK)
    file.seek(0)
    for magic, command in ZIPPED.items():
        if head.startswith(magic):
            raise InputError(
                f"{path} is zipped, and no picture in it can be read by its place; unzip it: "
                f"{command} {path}"
            )
    if not head:
        raise InputError(f"{path} is empty; write the tar again, or take it away")


def _ends_well(file: IO[bytes], end: int) -> bool:
    """Whether a block of zeros, the end mark, comes behind the last member."""
    file.seek(end)
    block = file.read(BLOCK)
    return len(block) == BLOCK and not any(block)


class _Bounded:
    """A file of which headers are read: a few bytes at a time, and never backwards for more."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.tell = file.tell

    def seek(self, place: int) -> int:
        """Go to a place in the file.

        Raises:
            tarfile.ReadError: It is before its begin.
        """
        if place < 0:
            raise tarfile.ReadError("a size below 0")
        return self._file.seek(place)

    def read(self, size: int) -> bytes:
        """Some bytes.

        Raises:
            tarfile.ReadError: They are more than any header has.
        """
        if not 0 <= size <= MOST_HEADER:
            raise tarfile.ReadError(f"a header of {size:,} bytes")
        return self._file.read(size)


def tars_in(folder: Path) -> list[Path]:
    """The tars in a folder, by name."""
    return [path for path in sorted(folder.iterdir()) if is_tar(path)]


def is_tar(path: Path) -> bool:
    """Whether a path is named like a tar, zipped or not, and is a plain file."""
    name = path.name.lower()
    zipped = (".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst")
    if name.startswith(".") or not name.endswith((".tar", *zipped)):
        return False
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return False
