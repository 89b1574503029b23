"""By what it is seen, without any vector, whether a picture or a file is what it was."""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from p5mm.encoders.values.content import STAMP, content_keys, stamps_of

KEY = 16  # bytes of a key


@dataclass(frozen=True)
class Marks:
    """The contents of some raw values.

    Attributes:
        keys: ``[n, 16]`` uint8, of the content; zero where there is nothing that could be read.
        stamps: ``[n, 3]`` int64, of `p5mm.encoders.values.content.stamps_of`.
    """

    keys: NDArray[np.uint8]
    stamps: NDArray[np.int64]

    @classmethod
    def nothing(cls, n: int) -> "Marks":
        """Marks of ``n`` values that say nothing."""
        return cls(np.zeros((n, KEY), np.uint8), np.zeros((n, STAMP), np.int64))

    def take(self, rows: NDArray[np.int64]) -> "Marks":
        """Those of some rows; of row -1 they say nothing."""
        if not len(self.keys):
            return Marks.nothing(len(rows))
        there = (rows >= 0)[:, None]
        return Marks(
            np.where(there, self.keys[rows], 0).astype(np.uint8),
            np.where(there, self.stamps[rows], 0),
        )

    def stamped(self, rows: NDArray[np.int64], stamps: NDArray[np.int64]) -> "Marks":
        """With other stamps ``[m, 3]`` at some rows ``[m]``; those that are zero say nothing."""
        made, told = self.stamps.copy(), stamps.any(axis=1)
        made[rows[told]] = stamps[told]
        return Marks(self.keys, made)

    def differ(self, other: "Marks") -> NDArray[np.bool_]:
        """``[n]`` True where the contents are not the same."""
        different: NDArray[np.bool_] = (self.keys != other.keys).any(axis=1)
        return different


def marks_of(raws: Sequence[Any | None], before: Marks) -> Marks:
    """The marks of raw values; a file whose stamp is what it was is not read again.

    A stamp is compared, never ordered, and is believed only if it was two seconds old by the clock
    of its time: so no clock that is wrong, or set back, hides a change.

    Args:
        raws: Paths, bytes, texts or vectors; None where an item has none.
        before: The marks of the same items as they were.
    """
    stamps = stamps_of(raws)
    same = (stamps == before.stamps).all(axis=1) & stamps.any(axis=1)
    keys = np.where(same[:, None], before.keys, 0).astype(np.uint8)
    read = [row for row in np.flatnonzero(~same).tolist() if raws[row] is not None]
    values = [_bytes(raws[row]) for row in read]
    for row, key in zip(read, content_keys(values), strict=True):
        if key is not None:
            keys[row] = np.frombuffer(key, np.uint8)
    return Marks(keys, stamps)


def _bytes(raw: Any) -> Any:
    """What has a key: a vector by its numbers."""
    if isinstance(raw, np.ndarray):
        return blake2b(raw.tobytes(), digest_size=KEY).digest()
    return raw
