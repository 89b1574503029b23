"""What is known of items besides who took them: standardised vectors of each modality."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from torch import Tensor

from p5mm.config import Ablation
from p5mm.encoders.base import Features
from p5mm.errors import InputError, unknown
from p5mm.fusion.standardise import Standardiser

REAL: Final = "real"
ZERO: Final = "zero"
SHUFFLED: Final = "shuffled"


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
    def of(cls, features: Sequence[Features], items: int, whiten: bool) -> "Content":
        """Standardise features; a modality that no item has is left out."""
        made = cls(items)
        for one in features:
            if one.modality in made.vectors:
                raise InputError(f"two encoders give the modality '{one.modality}'; keep one")
            if not one.present.any():
                continue
            standardise = Standardiser.fit(one.vectors, one.present, whiten)
            made.maps[one.modality] = standardise
            made.vectors[one.modality] = standardise(one.vectors, one.present)
            made.present[one.modality] = one.present
            made.fingerprints[one.modality] = one.fingerprint
        return made

    @property
    def dims(self) -> dict[str, int]:
        """Vector length of each modality."""
        return {name: vectors.shape[1] for name, vectors in self.vectors.items()}

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

    def extended(self, features: Sequence[Features], items: int) -> "Content":
        """The content of more items, by the maps learned from the first ones.

        Where a modality is ablated, the new items lack it, or get vectors of known items.

        Raises:
            InputError: The features come from other encoders than the model's.
        """
        by_name = {one.modality: one for one in features}
        vectors, present = {}, {}
        for name, known in self.vectors.items():
            new, there = np.zeros((items, known.shape[1]), np.float32), np.zeros(items, np.bool_)
            if name in by_name:
                one = by_name[name]
                encoder, how = _parsed(self.fingerprints[name])
                if one.fingerprint != encoder:
                    raise InputError(
                        f"the {name} vectors were made by another encoder ({one.spec}) than the "
                        "model's; encode the new items with the model's own encoders"
                    )
                if how != ZERO:
                    new, there = self.maps[name](one.vectors, one.present), one.present
                if how == SHUFFLED:
                    new = self._strange(name, there)
            vectors[name] = np.concatenate([known, new])
            present[name] = np.concatenate([self.present[name], there])
        return Content(self.items + items, vectors, present, self.fingerprints, self.maps)

    def _strange(self, name: str, present: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Vectors of known items, drawn at random, where ``present`` ``[n]``; zero elsewhere."""
        known = self.vectors[name][self.present[name]]
        drawn = np.random.default_rng(self.items).integers(len(known), size=len(present))
        return np.where(present[:, None], known[drawn], np.float32(0))

    def save(self, path: Path) -> None:
        """Write a safetensors file."""
        arrays: dict[str, NDArray[np.generic]] = {}
        for name in self.vectors:
            arrays[f"vectors.{name}"] = self.vectors[name]
            arrays[f"present.{name}"] = self.present[name]
            arrays[f"mean.{name}"] = self.maps[name].mean
            arrays[f"axes.{name}"] = np.ascontiguousarray(self.maps[name].axes)
        save_file(arrays, path)

    @classmethod
    def load(cls, path: Path, items: int, fingerprints: dict[str, str]) -> "Content":
        """Read what ``save`` wrote."""
        arrays = load_file(path)
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
