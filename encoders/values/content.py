"""By what a raw value is known: the key of its content, and whether a file may have changed."""

import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from hashlib import blake2b, file_digest
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from p5mm.encoders.values.part import FilePart

CHUNK = 64  # values that a thread reads in a row
STAMP = 3  # numbers of a stamp
NO_STAMP = (0, 0, 0)
SETTLED = 2_000_000_000  # nanoseconds after which no file system would miss a second change


def content_key(raw: Any) -> bytes | None:
    """16 bytes that stand for a content: a file's or picture's bytes, a text, or several of these.

    None for what has no bytes to hash (vectors, unreadable files); it is never stored.
    """
    try:
        if isinstance(raw, Path):
            with raw.open("rb") as file:
                return file_digest(file, _blake).digest()
        if isinstance(raw, str):
            return blake2b(raw.encode("utf-8", "surrogatepass"), digest_size=16).digest()
        if isinstance(raw, FilePart):
            whole = _blake()
            for piece in raw.pieces():
                whole.update(piece)
            return bytes(whole.digest())
        if isinstance(raw, bytes):
            return blake2b(raw, digest_size=16).digest()
        if isinstance(raw, tuple):
            keys = [content_key(value) or bytes(16) for value in raw]
            return blake2b(b"".join(keys), digest_size=16).digest() if any(map(any, keys)) else None
    except (OSError, ValueError):
        pass  # loading it will give the reason
    return None


def content_keys(raws: Sequence[Any]) -> list[bytes | None]:
    """`content_key` of many; files are read by a few threads."""
    if not any(isinstance(raw, Path | FilePart | tuple) for raw in raws):
        return _keys(raws)
    chunks = (raws[start : start + CHUNK] for start in range(0, len(raws), CHUNK))
    with ThreadPoolExecutor(8) as threads:  # its own chunks are for processes alone
        return [key for keys in threads.map(_keys, chunks) for key in keys]


def _keys(raws: Sequence[Any]) -> list[bytes | None]:
    return [content_key(raw) for raw in raws]


def stamps_of(raws: Sequence[Any | None]) -> NDArray[np.int64]:
    """``[n, 3]`` by which a change of files is seen without reading them.

    Of a file its size (of a part of one where it begins), and when its content and its entry were
    last changed (ns); of several values a hash of theirs. Zero where it is no file, or was changed
    in the last two seconds by this clock: then it could change again unseen.
    """
    settled = time.time_ns() - SETTLED
    return np.array([_stamp(raw, settled) for raw in raws], np.int64).reshape(-1, STAMP)


@dataclass(frozen=True)
class Contents:
    """The contents of raw values, as they were at one time.

    Attributes:
        raws: The values.
        stamps: ``[n, 3]`` of `stamps_of`, from before the keys.
        keys: Of `content_key`.
    """

    raws: Sequence[Any | None]
    stamps: NDArray[np.int64]
    keys: list[bytes | None]

    @classmethod
    def of(cls, raws: Sequence[Any | None]) -> "Contents":
        """The contents as they are now; every file is read once."""
        return cls(raws, stamps_of(raws), content_keys(raws))

    def moved(self, rows: Sequence[int]) -> list[int]:
        """Those rows whose files hold something else by now than their keys say.

        Files are read again only where their stamps are others, or say nothing.
        """
        files = [
            row
            for row in rows
            if self.keys[row] is not None and isinstance(self.raws[row], Path | FilePart)
        ]
        raws = [self.raws[row] for row in files]
        before = self.stamps[files]
        same = (stamps_of(raws) == before).all(axis=1) & before.any(axis=1)
        return [
            row
            for row, raw, unseen in zip(files, raws, same.tolist(), strict=True)
            if not unseen and content_key(raw) != self.keys[row]
        ]


def _stamp(raw: Any | None, settled: int) -> tuple[int, ...]:
    if isinstance(raw, tuple):
        each = [_stamp(value, settled) for value in raw]
        if NO_STAMP in each:
            return NO_STAMP
        digest = blake2b(repr(each).encode(), digest_size=8 * STAMP).digest()
        return tuple(np.frombuffer(digest, "<i8").tolist())
    with suppress(OSError):
        if isinstance(raw, Path | FilePart):
            of = os.stat(raw if isinstance(raw, Path) else raw.archive.path)
            if of.st_mtime_ns < settled and of.st_ctime_ns < settled:
                size = of.st_size if isinstance(raw, Path) else raw.start
                return size, of.st_mtime_ns, of.st_ctime_ns
    return NO_STAMP


def _blake() -> Any:
    return blake2b(digest_size=16)
