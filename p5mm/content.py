"""What is known of items besides who took them: standardised vectors of each modality."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from torch import Tensor

from p5mm.encoders.base import Features
from p5mm.errors import InputError
from p5mm.fusion.standardise import Standardiser


@dataclass(frozen=True)
class Content:
    """Vectors of each modality in catalog order, ready for fusion.

    Attributes:
        items: Number of items.
        vectors: Modality to ``[n, dim]`` float32, standardised, zero where absent.
        present: Modality to ``[n]`` bool.
        fingerprints: Modality to the fingerprint of the encoder that made it.
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

    def extended(self, features: Sequence[Features], items: int) -> "Content":
        """The content of more items, by the maps learned from the first ones.

        Raises:
            InputError: The features come from other encoders than the model's.
        """
        by_name = {one.modality: one for one in features}
        vectors, present = {}, {}
        for name, known in self.vectors.items():
            new, there = np.zeros((items, known.shape[1]), np.float32), np.zeros(items, np.bool_)
            if name in by_name:
                one = by_name[name]
                if one.fingerprint != self.fingerprints[name]:
                    raise InputError(
                        f"the {name} vectors were made by another encoder ({one.spec}) than the "
                        "model's; encode the new items with the model's own encoders"
                    )
                new, there = self.maps[name](one.vectors, one.present), one.present
            vectors[name] = np.concatenate([known, new])
            present[name] = np.concatenate([self.present[name], there])
        return Content(self.items + items, vectors, present, self.fingerprints, self.maps)

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
