"""A part of a file: a raw value that lies in a larger file, as a picture does in a tar."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

MOST_BYTES = 1 << 29  # of one value: any picture within the limit of pixels, uncompressed


@dataclass(frozen=True, slots=True)
class Archive:
    """A file that holds many values, as it was when they were looked up.

    Attributes:
        path: Where it is.
        size: Its bytes.
        changed: When it was last changed (ns).
    """

    path: Path
    size: int
    changed: int

    @classmethod
    def of(cls, path: Path) -> "Archive":
        """A file as it is now.

        Raises:
            OSError: There is none.
        """
        now = os.stat(path)
        return cls(Path(os.path.abspath(path)), now.st_size, now.st_mtime_ns)


@dataclass(frozen=True, slots=True)
class FilePart:
    """Some bytes of an archive; nothing is read before `read`.

    Attributes:
        archive: The file.
        name: Of the value in the archive.
        start: Where its bytes begin.
        size: How many they are.
    """

    archive: Archive
    name: str
    start: int
    size: int

    def read(self) -> bytes:
        """The bytes.

        Raises:
            ValueError: The archive is no longer what it was, or they are too many.
            OSError: It cannot be read.
        """
        return b"".join(self.pieces(self.size))

    def pieces(self, size: int = 1 << 20) -> Iterator[bytes]:
        """The bytes, at most some at once; as ``read``."""
        check_size(self.size)
        with self.archive.path.open("rb") as file:
            now = os.fstat(file.fileno())
            if (now.st_size, now.st_mtime_ns) != (self.archive.size, self.archive.changed):
                raise ValueError(f"{self.archive.path} was changed while it was read")
            file.seek(self.start)
            left = self.size
            while left and (piece := file.read(min(size, left))):
                left -= len(piece)
                yield piece
        if left:
            raise ValueError(f"{self.archive.path} ends in the middle of {self.name}")


def check_size(size: int) -> None:
    """Refuse values that no memory should be given to.

    Raises:
        ValueError: They have too many bytes.
    """
    if size > MOST_BYTES:
        raise ValueError(f"{size:,} bytes, over the limit of {MOST_BYTES:,}")
