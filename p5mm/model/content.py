"""What is known of items besides who took them: standardised vectors of each modality."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from p5mm.arrays import Expected, check_shape, read_arrays, write_arrays
from p5mm.config import Ablation
from p5mm.encoders.base import Features
from p5mm.errors import InputError, unknown
from p5mm.fusion.standardise import Standardiser
from p5mm.plain import reading

REAL: Final = "real"
ZERO: Final = "zero"
SHUFFLED: Final = "shuffled"
REMEDY: Final = "train again"


@dataclass(frozen=True)
class Content:
    """Vectors of each modality in catalog order, ready for fusion.

    Attributes:
        items: Number of items.
        vectors: Modality to ``[n, dim]`` float32, standardised, zero where absent.
        present: Modality to ``[n]`` bool.
        fingerprints: Modality to the fingerprint of the encoder that made it, with ``:zero`` or
            ``:shuffled`` behind it where the modality is ablated.
        maps: Modality to how raw vectors are standardised.
    """

    items: int
    vectors: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    present: dict[str, NDArray[np.bool_]] = field(default_factory=dict)
    fingerprints: dict[str, str] = field(default_factory=dict)
    maps: dict[str, Standardiser] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        features: Sequence[Features],
        items: int,
        whiten: bool,
        upright: bool = False,
    ) -> "Content":
        """Standardise features; a modality that no item has is left out.

        Args:
            features: Of the catalog.
            items: Number of items.
            whiten: Whether to whiten.
            upright: Whether the maps are turned back towards the encoders' axes, so that those of
                several catalogs agree.

        Raises:
            InputError: Two encoders give one modality.
        """
        made = cls(items)
        for encoded in features:
            if encoded.modality in made.vectors:
                raise InputError(f"two encoders give the modality '{encoded.modality}'; keep one")
            if not encoded.present.any():
                continue
            standardise = Standardiser.fit(encoded.vectors, encoded.present, whiten)
            standardise = standardise.upright if upright else standardise
            made.maps[encoded.modality] = standardise
            made.vectors[encoded.modality] = standardise(encoded.vectors, encoded.present)
            made.present[encoded.modality] = encoded.present
            made.fingerprints[encoded.modality] = encoded.fingerprint
        return made

    @property
    def dims(self) -> dict[str, int]:
        """Vector length of each modality."""
        return {name: vectors.shape[1] for name, vectors in self.vectors.items()}

    def is_real(self, name: str) -> bool:
        """Whether some item has the modality, and each that has it its own."""
        there = name in self.present and bool(self.present[name].any())
        return there and _parsed(self.fingerprints[name])[1] == REAL

    def tensors(self) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Vectors and presence as tensors."""
        return (
            {name: torch.from_numpy(v) for name, v in self.vectors.items()},
            {name: torch.from_numpy(p) for name, p in self.present.items()},
        )

    def ablated(self, ablate: Mapping[str, Ablation], seed: int = 0) -> "Content":
        """The same content without some modalities, or without their meaning.

        Args:
            ablate: Modality to ``real``, ``zero`` (every item lacks it) or ``shuffled`` (each item
                that has it gets the vector of another). What every item lacks stays so.
            seed: Seed of the shuffling.

        Raises:
            InputError: There is no such modality, or no such way to ablate it.
        """
        ways = {ZERO: _without, SHUFFLED: _shuffled}
        made = self
        for name, how in ablate.items():
            if name not in self.vectors:
                raise unknown("modality to ablate", name, self.vectors)
            if how not in {REAL, *ways}:
                raise unknown(f"ablation of '{name}'", how, {REAL, *ways})
            if how != REAL and made.present[name].any():
                made = ways[how](made, name, np.random.default_rng(seed))
        return made

    def placed(
        self, features: Sequence[Features], rows: NDArray[np.int64], items: int
    ) -> "Content":
        """The content of as many items or more, by the maps learned of the first ones.

        An item keeps what the features do not have of it. Where a modality is ablated, known items
        keep what they have, and new ones lack it, or get vectors of known items.

        Args:
            features: Of ``m`` items.
            rows: ``[m]`` int64, where these stand.
            items: How many there are then.

        Raises:
            InputError: The features come from other encoders than the model's.
        """
        by_name = {encoded.modality: encoded for encoded in features}
        vectors, present, more = {}, {}, items - self.items
        for name, known in self.vectors.items():
            vectors[name] = np.pad(known, ((0, more), (0, 0)))
            present[name] = np.pad(self.present[name], (0, more))
            if name not in by_name:
                continue
            encoded, how = by_name[name], _parsed(self.fingerprints[name])[1]
            if not encoded.present.any():
                continue
            self.check_made(name, encoded.spec, encoded.fingerprint, encoded.dim)
            if how == ZERO:
                continue
            there = encoded.present & ((how == REAL) | (rows >= self.items))
            made = self.maps[name](encoded.vectors, encoded.present)
            if how == SHUFFLED:
                made = self._strange(name, there)
            vectors[name][rows[there]] = made[there]
            present[name][rows[there]] = True
        return Content(items, vectors, present, self.fingerprints, self.maps)

    def check_made(self, name: str, spec: str, fingerprint: str, dim: int) -> None:
        """See that vectors of a modality can stand beside those that are here.

        Args:
            name: Of the modality.
            spec: Of the encoder that makes them.
            fingerprint: Of that encoder.
            dim: Their length.

        Raises:
            InputError: They are of another length, or come from another encoder.
        """
        wanted = len(self.maps[name].mean)
        if dim != wanted:
            raise InputError(
                f"the {name} vectors ({spec}) have {dim} numbers, and the model's {wanted}; "
                "encode the items with the model's own encoders"
            )
        if fingerprint != _parsed(self.fingerprints[name])[0]:
            raise InputError(
                f"the {name} vectors were made by another encoder ({spec}) than "
                "the model's; encode the items with the model's own encoders"
            )

    def _strange(self, name: str, present: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Vectors of known items, drawn at random, where ``present`` ``[n]``; zero elsewhere."""
        known = self.vectors[name][self.present[name]]
        drawn = np.random.default_rng(self.items).integers(len(known), size=len(present))
        return np.where(present[:, None], known[drawn], np.float32(0))

    def save(self, path: Path) -> None:
        """Write a safetensors file.

        Raises:
            OSError: It cannot be written.
        """
        arrays: dict[str, NDArray[np.generic]] = {}
        for name in self.vectors:
            arrays[f"vectors.{name}"] = self.vectors[name]
            arrays[f"present.{name}"] = self.present[name]
            arrays[f"mean.{name}"] = self.maps[name].mean
            arrays[f"axes.{name}"] = self.maps[name].axes
        write_arrays(path, arrays)

    @classmethod
    def load(cls, path: Path, items: int, fingerprints: dict[str, str]) -> "Content":
        """Read what ``save`` wrote.

        Args:
            path: The file.
            items: Number of items.
            fingerprints: Modality to the fingerprint of the encoder that made it.

        Raises:
            InputError: The file is damaged, or holds the content of other items or modalities.
        """
        arrays = read_arrays(path, _expected(items, fingerprints), REMEDY)
        with reading(path, REMEDY):
            for name in fingerprints:
                dim, out = arrays[f"axes.{name}"].shape
                check_shape(arrays[f"mean.{name}"].shape, (dim,), f"mean.{name}")
                check_shape(arrays[f"vectors.{name}"].shape, (items, out), f"vectors.{name}")
        return cls(
            items,
            {name: arrays[f"vectors.{name}"] for name in fingerprints},
            {name: arrays[f"present.{name}"] for name in fingerprints},
            fingerprints,
            {
                name: Standardiser(arrays[f"mean.{name}"], arrays[f"axes.{name}"])
                for name in fingerprints
            },
        )


def _expected(items: int, names: Iterable[str]) -> dict[str, Expected]:
    """The arrays of a file of content."""
    kinds = {
        "vectors": Expected((items, None)),
        "present": Expected((items,), ("bool",)),
        "mean": Expected((None,)),
        "axes": Expected((None, None)),
    }
    return {f"{kind}.{name}": expected for name in names for kind, expected in kinds.items()}


def _without(content: Content, name: str, _: np.random.Generator) -> Content:
    vectors = np.zeros_like(content.vectors[name])
    present = np.zeros_like(content.present[name])
    return _with(content, name, vectors, present, ZERO)


def _shuffled(content: Content, name: str, random: np.random.Generator) -> Content:
    """One random cycle through the items that have the modality: none keeps its own vector."""
    present = content.present[name]
    cycle = random.permutation(np.flatnonzero(present))
    vectors = content.vectors[name].copy()
    vectors[cycle] = content.vectors[name][np.roll(cycle, 1)]
    return _with(content, name, vectors, present, SHUFFLED)


def _with(
    content: Content,
    name: str,
    vectors: NDArray[np.float32],
    present: NDArray[np.bool_],
    how: str,
) -> Content:
    encoder, _ = _parsed(content.fingerprints[name])
    return replace(
        content,
        vectors=content.vectors | {name: vectors},
        present=content.present | {name: present},
        fingerprints=content.fingerprints | {name: f"{encoder}:{how}"},
    )


def _parsed(fingerprint: str) -> tuple[str, str]:
    """The encoder's own fingerprint, and how its vectors are ablated."""
    for how in (ZERO, SHUFFLED):
        if fingerprint.endswith(f":{how}"):
            return fingerprint.removesuffix(f":{how}"), how
    return fingerprint, REAL
