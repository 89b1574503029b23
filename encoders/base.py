"""What an encoder is: three duties, and the features that come of them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from p5mm.registry import Registry


@runtime_checkable
class Encoder(Protocol):
    """One modality in, one vector an item out.

    Attributes:
        modality: "image", "text", or any other name. The item's raw value comes from the
            catalog's field of that name; ``source`` may name another field, or be a tuple of
            columns.
        dim: Length of a vector.
        fingerprint: Changes whenever weights or preprocessing change; the feature store's key.

    Optional: ``source`` (see above); ``reads_files = True`` where ``load`` opens the files that a
    column of texts names; ``one_thread = True`` where ``load`` is too cheap for threads, or not
    safe in them; ``prepare(raws)``, called once before any ``load``; of a text encoder ``space``,
    the fingerprint of the image encoder whose vectors share a space with its own, so that words
    find pictures. The built-in encoders give vectors of unit length, except ``vector:column``,
    which gives what the catalog holds.

    A vector is kept by the content of its raw value: of a text its letters, of a file or picture
    its bytes. So an encoder that opened a file by a text would keep the vector of a file that has
    changed since; with ``reads_files`` it is given a ``Path`` and the file's bytes are the key.
    """

    modality: str
    dim: int
    fingerprint: str

    def load(self, raw: Any) -> Any:
        """One raw value to a model input; several threads call it at once.

        Args:
            raw: Of the field "image" a ``Path`` or bytes; of "text" and of a column of texts a
                ``str``, or with ``reads_files`` a ``Path``; of a column of bytes these; of a
                column of vectors a float32 array; of several columns a dict of the item's cells.

        Raises:
            ValueError: The value is broken; the message is the reason kept in quarantine.
        """

    def encode(self, batch: Sequence[Any]) -> NDArray[np.float32]:
        """A batch of loaded values to vectors ``[n, dim]``, in order."""


@dataclass(frozen=True)
class Quarantined:
    """A raw value that could not be loaded, and why."""

    row: int
    reason: str


@dataclass(frozen=True)
class Features:
    """Vectors of one modality for a list of items.

    Attributes:
        modality: The name under which fusion mixes these vectors.
        spec: The encoder's spec string.
        fingerprint: The encoder's fingerprint.
        vectors: ``[n, dim]`` float32; rows of absent items are zero.
        present: ``[n]`` bool, True where the item has this modality.
        quarantine: What was given but could not be loaded.
    """

    modality: str
    spec: str
    fingerprint: str
    vectors: NDArray[np.float32]
    present: NDArray[np.bool_]
    quarantine: tuple[Quarantined, ...] = field(default=())

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return int(self.vectors.shape[1])


encoders: Registry[Any] = Registry(
    "encoder",
    "p5mm.encoders",
    modules=(
        "p5mm.encoders.clip",
        "p5mm.encoders.timm",
        "p5mm.encoders.hf.image",
        "p5mm.encoders.hf.text",
        "p5mm.encoders.vector",
        "p5mm.encoders.embedded",
    ),
)
