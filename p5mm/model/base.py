"""A pretrained base: a T5 and the maps of each modality, without the items of any shop."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor

from p5mm.arrays import read_arrays, write_arrays
from p5mm.config import ModelConfig
from p5mm.encoders.base import Features
from p5mm.errors import InputError
from p5mm.files import holds_only, refuse_other_output, whole_folder
from p5mm.fusion.standardise import Standardiser
from p5mm.model.content import Content
from p5mm.model.network import Network
from p5mm.model.t5 import T5, load_t5
from p5mm.model.tokenizer import load_tokenizer, save_tokenizer
from p5mm.plain import check_type, read_json, reading

VERSION = 1
OURS = {"base.json", "base.safetensors", "t5", "checkpoint"}
REMEDY = "pretrain again, or take another copy"
SIZES = ("d_model", "layers", "decoder_layers", "fusion", "soft_tokens")  # a shop's are the base's
PARTS = ("items.fusion", "history")  # of a network, beside the T5


@dataclass(frozen=True)
class Learned:
    """One of the catalogs that a base has learned from.

    Attributes:
        name: Of its folder.
        items: In its catalog.
        users: In its log.
        ndcg: NDCG@10 on its validation cases, by content alone.
    """

    name: str
    items: int
    users: int
    ndcg: float


@dataclass(frozen=True)
class Base:
    """What is learned on several catalogs and holds for any.

    Attributes:
        config: Settings of the network.
        t5: Encoder pretrained.
        tokenizer: Of the T5.
        maps: Modality to how raw vectors are standardised.
        fingerprints: Modality to the fingerprint of the encoder that made its vectors.
        weights: Name in a network to its weight: fusion, start token, rating.
        learned: The catalogs that it has learned from.
    """

    config: ModelConfig
    t5: T5
    tokenizer: Tokenizer
    maps: dict[str, Standardiser]
    fingerprints: dict[str, str]
    weights: dict[str, Tensor]
    learned: tuple[Learned, ...]

    @property
    def digest(self) -> str:
        """Changes with any weight or map."""
        digest = hashlib.blake2b(digest_size=16)
        for _, array in sorted(self._arrays().items()):
            digest.update(np.ascontiguousarray(array).tobytes())
        for _, tensor in sorted(self.t5.state_dict().items()):
            digest.update(tensor.numpy().tobytes())
        return digest.hexdigest()

    def check(self, config: ModelConfig) -> None:
        """Check that a shop's network has the sizes of the base.

        Raises:
            InputError: It has others.
        """
        for key in SIZES:
            own, wanted = getattr(self.config, key), getattr(config, key)
            if own != wanted:
                raise InputError(
                    f"the base has model.{key} {own}, and {wanted} is asked for; type "
                    f"--model.{key} {own}"
                )

    def content(self, features: Sequence[Features], items: int, whiten: bool) -> Content:
        """A catalog's content by the maps of the base; what it lacks of the base's, none has.

        Args:
            features: Of the catalog.
            items: Number of items.
            whiten: Whether a modality that the base does not know is whitened.

        Raises:
            InputError: A modality comes from another encoder than the base's.
        """
        for encoded in features:
            if self.fingerprints.get(encoded.modality, encoded.fingerprint) != encoded.fingerprint:
                raise InputError(
                    f"the {encoded.modality} vectors are made by another encoder "
                    f"({encoded.spec}) than the base's; take the encoders that it was pretrained "
                    "with, or pretrain another base with these"
                )
        made = Content.of(features, items, whiten, self.maps)
        for name, standardise in self.maps.items():
            if name not in made.vectors:
                made.maps[name], made.fingerprints[name] = standardise, self.fingerprints[name]
                made.vectors[name] = np.zeros((items, standardise.axes.shape[1]), np.float32)
                made.present[name] = np.zeros(items, np.bool_)
        return made

    @torch.no_grad()
    def start(self, network: Network) -> None:
        """Give a network with this T5 the other weights of the base; a new modality starts anew.

        Raises:
            InputError: The fusion cannot take one modality more.
        """
        own = network.state_dict()
        for name, weight in self.weights.items():
            if name not in own or own[name].shape != weight.shape:
                raise InputError(
                    f"the fusion '{self.config.fusion}' of the base does not fit these modalities; "
                    "encode the same ones as for the base, or pretrain with --model.fusion gate"
                )
            own[name].copy_(weight)

    def write(self, folder: Path, force: bool = False) -> None:
        """Write the base; ``t5`` in it opens with Hugging Face's T5ForConditionalGeneration.

        Raises:
            InputError: The folder holds something else than a base, or is a file.
            OSError: It cannot be written.
        """
        check_base_target(folder, force)
        with whole_folder(folder) as draft:
            (draft / "t5").mkdir()
            write_arrays(draft / "t5" / "model.safetensors", self.t5.state_dict(), {"format": "pt"})
            (draft / "t5" / "config.json").write_text(json.dumps(self.t5.config.to_dict()))
            save_tokenizer(self.tokenizer, draft / "t5" / "tokenizer.json")
            write_arrays(draft / "base.safetensors", self._arrays())
            about = {
                "p5mm_base": VERSION,
                "config": asdict(replace(self.config, base=None)),
                "fingerprints": self.fingerprints,
                "learned": [asdict(of) for of in self.learned],
            }
            (draft / "base.json").write_text(json.dumps(about, indent=2))

    def _arrays(self) -> dict[str, NDArray[Any]]:
        maps = {f"mean.{name}": of.mean for name, of in self.maps.items()}
        maps |= {f"axes.{name}": of.axes for name, of in self.maps.items()}
        return maps | {f"weight.{name}": of.numpy() for name, of in self.weights.items()}


KINDS = {"config": ModelConfig, "fingerprints": dict[str, str], "learned": tuple[Learned, ...]}


def shared_weights(network: Network) -> dict[str, Tensor]:
    """Name to weight of what a network has beside its T5 that knows no item."""
    return {
        name: tensor.detach().clone()
        for name, tensor in network.state_dict().items()
        if name.startswith(PARTS)
    }


def check_base_target(folder: Path, force: bool = False) -> None:
    """Refuse to put a base where something else is than a base, or one in pretraining.

    Raises:
        InputError: Something else is there.
    """
    refuse_other_output(folder, lambda path: holds_only(path, OURS), "base of p5mm", force)


def is_base(folder: Path) -> bool:
    """Whether the folder holds a finished base."""
    return (folder / "base.json").is_file()


def read_base(folder: str | Path, dropout: float | None = None) -> Base:
    """Read a base folder.

    Args:
        folder: Of ``p5mm pretrain``.
        dropout: Of the T5, in place of the base's own.

    Raises:
        InputError: It is no base folder, is damaged, or was written by another p5mm.
    """
    folder = Path(folder)
    if not is_base(folder):
        raise InputError(
            f"{folder} is no base folder (base.json is missing); p5mm pretrain CONFIG --data A "
            "--data B --out BASE makes one"
        )
    about = read_json(folder / "base.json", REMEDY)
    if about.get("p5mm_base") != VERSION:
        told = str(about.get("p5mm_base"))[:20]
        raise InputError(f"{folder} was written in format {told}; this p5mm reads format {VERSION}")
    with reading(folder / "base.json", REMEDY):
        for name, kind in KINDS.items():
            check_type(about.get(name), kind, name)
        config, fingerprints = ModelConfig(**about["config"]), about["fingerprints"]
        learned = tuple(Learned(**of) for of in about["learned"])
    arrays = read_arrays(folder / "base.safetensors", None, REMEDY)
    with reading(folder / "base.safetensors", REMEDY):
        maps = {
            name: Standardiser(arrays[f"mean.{name}"], arrays[f"axes.{name}"])
            for name in fingerprints
        }
        weights = {
            name.removeprefix("weight."): torch.from_numpy(array.copy())
            for name, array in arrays.items()
            if name.startswith("weight.")
        }
    t5, tokenizer = load_t5(folder / "t5", dropout), load_tokenizer(folder / "t5")
    return Base(config, t5, tokenizer, maps, fingerprints, weights, learned)
