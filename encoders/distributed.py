"""Raw values encoded by the machines of a cluster, each of which makes the encoder once."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from p5mm.cluster import Cluster
from p5mm.encoders.base import Encoder
from p5mm.encoders.encode import Encoded, encoded
from p5mm.encoders.values.loading import SECONDS, longest_first
from p5mm.encoders.values.part import Archive, FilePart
from p5mm.encoders.values.several import flattened
from p5mm.errors import InputError

PIECE = 8  # batches that a worker is given at once


def _part_packed(part: FilePart) -> bytes:
    archive = part.archive
    numbers = f"{archive.size} {archive.changed} {part.start} {part.size}"
    return b"\0".join([os.fsencode(archive.path), part.name.encode(), numbers.encode()])


def _part_unpacked(packed: bytes) -> FilePart:
    path, name, numbers = packed.split(b"\0")
    size, changed, start, length = map(int, numbers.split())
    return FilePart(Archive(Path(os.fsdecode(path)), size, changed), name.decode(), start, length)


_PACK: dict[str, Callable[[Any], bytes]] = {
    "text": str.encode,
    "bytes": bytes,
    "path": os.fsencode,
    "part": _part_packed,
}
_UNPACK: dict[str, Callable[[bytes], Any]] = {
    "text": bytes.decode,
    "bytes": bytes,
    "path": lambda raw: Path(os.fsdecode(raw)),
    "part": _part_unpacked,
}


def can_travel(encoder: Encoder, raws: Sequence[Any]) -> bool:
    """Whether values go elsewhere: texts, bytes and paths do, if their encoder needs not see all.

    Vectors stay here: to send them costs more than what is made of them.
    """
    return not hasattr(encoder, "prepare") and all(
        raw is None or isinstance(raw, str | bytes | Path | FilePart) for raw in flattened(raws)[0]
    )


@dataclass(frozen=True)
class Distributed:
    """Encodes on a cluster what `p5mm.encoders.encode.encoded` would encode here.

    Attributes:
        cluster: Where.
        make: Makes the encoder there.
        threads: That load ahead of each encoder; with a worker a core, none are needed.
        seconds: That one value may take to load.
    """

    cluster: Cluster
    make: Callable[[], Encoder]
    threads: int = 0
    seconds: float = SECONDS

    def __call__(
        self, encoder: Encoder, raws: Sequence[Any], rows: list[int], batch_size: int
    ) -> Iterator[Encoded]:
        """Some rows encoded; arguments as of `p5mm.encoders.encode.encoded`.

        Raises:
            InputError: The encoder is another one on a worker, or breaks its contract.
        """
        if not rows:
            return
        rows, size = longest_first(raws, rows), PIECE * batch_size
        pieces = [_pack(raws, rows[start : start + size]) for start in range(0, len(rows), size)]
        work = _Encoding(self.make, encoder.fingerprint, batch_size, self.threads, self.seconds)
        for made in self.cluster.map(work, pieces, gpu=True):
            yield _unpacked(made, encoder.dim)


@dataclass(frozen=True)
class _Encoding:
    """What a worker does."""

    make: Callable[[], Encoder]
    fingerprint: str
    batch_size: int
    threads: int
    seconds: float

    @cached_property
    def encoder(self) -> Encoder:
        """Made where it is first asked for."""
        encoder = self.make()
        if encoder.fingerprint != self.fingerprint:
            raise InputError(
                f"the {encoder.modality} encoder on a worker is another one (its fingerprint is "
                f"'{encoder.fingerprint[:80]}', here '{self.fingerprint[:80]}'); give all machines "
                "the same weights, and the same versions of packages"
            )
        return encoder

    def __call__(self, piece: pa.Table) -> pa.Table:
        """The vectors of a piece, and why some values have none."""
        columns = piece.select(["kind", "raw"]).to_pydict().values()
        raws = [_UNPACK[kind](raw) for kind, raw in zip(*columns, strict=True)]
        known, done, reasons = piece["row"].to_pylist(), list[int](), dict[int, str]()
        vectors: list[bytes] = []
        rows = list(range(len(raws)))
        for some in encoded(self.encoder, raws, rows, self.batch_size, self.threads, self.seconds):
            done += some.rows
            vectors += [vector.astype("<f4").tobytes() for vector in some.vectors]
            reasons |= some.reasons
        return pa.table(
            {
                "row": [known[row] for row in (*done, *reasons)],
                "vector": pa.array([*vectors, *[None] * len(reasons)], pa.binary()),
                "reason": pa.array([*[None] * len(done), *reasons.values()], pa.string()),
            }
        )


def _pack(raws: Sequence[Any], rows: list[int]) -> pa.Table:
    values = [raws[row].absolute() if isinstance(raws[row], Path) else raws[row] for row in rows]
    kinds = [_kind(value) for value in values]
    packed = [_PACK[kind](value) for kind, value in zip(kinds, values, strict=True)]
    return pa.table({"row": rows, "kind": kinds, "raw": pa.array(packed, pa.large_binary())})


def _kind(value: Any) -> str:
    if isinstance(value, str):
        return "text"
    if isinstance(value, FilePart):
        return "part"
    return "bytes" if isinstance(value, bytes) else "path"


def _unpacked(made: pa.Table, dim: int) -> Encoded:
    there = made["vector"].is_valid()
    good, bad = made.filter(there), made.filter(made["vector"].is_null())
    flat = np.frombuffer(b"".join(good["vector"].to_pylist()), dtype="<f4")
    reasons = dict(zip(bad["row"].to_pylist(), bad["reason"].to_pylist(), strict=True))
    return Encoded(good["row"].to_pylist(), flat.reshape(-1, dim), reasons)
