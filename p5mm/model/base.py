"""A pretrained base: a T5 and a fusion, without the items of any shop."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor

from p5mm.arrays import Expected, read_arrays, write_arrays
from p5mm.config import ModelConfig
from p5mm.encoders.base import Features
from p5mm.errors import InputError, shown, unknown
from p5mm.files import holds_only, refuse_other_output, whole_folder
from p5mm.fusion.base import fusions
from p5mm.fusion.standardise import Standardiser
from p5mm.memory import memory
from p5mm.model.content import Content
from p5mm.model.network import Network
from p5mm.model.t5 import T5, load_t5
from p5mm.model.tokenizer import LEVELS, check_tokenizer, load_tokenizer, save_tokenizer
from p5mm.plain import check_type, read_json, reading

VERSION = 2
CHECKPOINT = "checkpoint"  # what an unfinished pretraining leaves in the folder of its base
OURS = {"base.json", "base.safetensors", "t5", CHECKPOINT}
REMEDY = "pretrain again, or take another copy"
SHARED = ("fusion", "soft_tokens", "whiten")  # settings of a shop that are the base's,
WORDS = ("title", "headline", "stars")  # what a T5 may have learned to write
HIGHEST = 1e6  # of a rating
WIDEST = 1 << 16  # of a content vector
SIZES = ("d_model", "layers", "decoder_layers")  # and those of nano
OPENED = 2  # copies of the weights
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
        dims: Modality to the length of its vectors.
        fingerprints: Modality to the fingerprint of the encoder that made its vectors.
        weights: Name in a network to its weight: fusion, start token, rating.
        learned: The catalogs that it has learned from.
        words: What its T5 has learned to write: title, headline, stars.
        levels: Ratings of the reviews that it has read, ascending.
    """

    config: ModelConfig
    t5: T5
    tokenizer: Tokenizer
    dims: dict[str, int]
    fingerprints: dict[str, str]
    weights: dict[str, Tensor]
    learned: tuple[Learned, ...]
    words: tuple[str, ...] = ()
    levels: tuple[float, ...] = ()

    @property
    def digest(self) -> str:
        """Changes with any weight, map or token."""
        digest = hashlib.blake2b(self.tokenizer.to_str().encode(), digest_size=16)
        for _, array in sorted(self._arrays().items()):
            digest.update(np.ascontiguousarray(array).tobytes())
        for _, tensor in sorted(self.t5.state_dict().items()):
            digest.update(tensor.numpy().tobytes())
        return digest.hexdigest()

    def check(self, config: ModelConfig) -> None:
        """Check that a shop's network has the sizes of the base.

        Raises:
            InputError: It has others, or another T5 is asked for besides.
        """
        if config.t5 != "nano":
            raise InputError(
                f"model.base brings its own T5, and model.t5 {shown(config.t5)} is asked for; "
                "leave one of the two out"
            )
        for key in SHARED + (SIZES if self.config.t5 == "nano" else ()):
            own, wanted = getattr(self.config, key), getattr(config, key)
            if own != wanted:
                raise InputError(
                    f"the base has model.{key} {own}, and {wanted} is asked for; type "
                    f"--model.{key} {own}"
                )

    def content(self, features: Sequence[Features], items: int, whiten: bool) -> Content:
        """A catalog's content, standardised by itself; what it lacks of the base's, none has.

        Args:
            features: Of the catalog.
            items: Number of items.
            whiten: As the base; see ``check``.

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
            dim = encoded.vectors.shape[1]
            if (known := self.dims.get(encoded.modality, dim)) != dim:
                raise InputError(
                    f"the base reads {encoded.modality} vectors of {known} numbers, and these have "
                    f"{dim}; {REMEDY}"
                )
        made = Content.of(features, items, whiten, upright=True)
        for name, dim in self.dims.items():
            if name not in made.vectors:
                made.maps[name] = Standardiser(np.zeros(dim, np.float32), np.eye(dim, dtype="f4"))
                made.fingerprints[name] = self.fingerprints[name]
                made.vectors[name] = np.zeros((items, dim), np.float32)
                made.present[name] = np.zeros(items, np.bool_)
        return made

    @torch.no_grad()
    def start(self, network: Network) -> None:
        """Give a network with this T5 the other weights of the base; a new modality starts anew.

        Raises:
            InputError: The fusion cannot take one modality more, or the base is damaged.
        """
        own = {name: of for name, of in network.state_dict().items() if name.startswith(PARTS)}
        new = [name for name in network.items.modalities if name not in self.dims]
        missing = {name for name in own if not any(f".{of}." in name for of in new)}
        shapes = {name: of.shape for name, of in own.items()}
        fits = missing <= set(self.weights) <= set(own) and all(
            of.shape == shapes[name] for name, of in self.weights.items()
        )
        if not fits and not new:
            raise InputError(f"the base's weights are not those of its fusion; {REMEDY}")
        if not fits:
            raise InputError(
                f"the fusion '{shown(self.config.fusion)}' of the base cannot take "
                f"{', '.join(new)} besides; encode the same modalities as for the base, or "
                "pretrain with --model.fusion gate"
            )
        for name, weight in self.weights.items():
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
                "config": asdict(self.config),
                "dims": self.dims,
                "fingerprints": self.fingerprints,
                "learned": [asdict(of) for of in self.learned],
                "words": self.words,
                "levels": self.levels,
            }
            (draft / "base.json").write_text(json.dumps(about, indent=2))

    def _arrays(self) -> dict[str, NDArray[Any]]:
        return {name: of.numpy() for name, of in self.weights.items()}


KINDS = {
    "config": ModelConfig,
    "dims": dict[str, int],
    "fingerprints": dict[str, str],
    "learned": tuple[Learned, ...],
    "words": tuple[str, ...],
    "levels": tuple[float, ...],
}


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
    refuse_other_output(folder, _is_replaceable, "base of p5mm alone", force)


def is_base(folder: Path) -> bool:
    """Whether the folder holds a finished base."""
    try:
        return "p5mm_base" in read_json(folder / "base.json", REMEDY)
    except InputError:
        return False


def _is_replaceable(folder: Path) -> bool:
    return holds_only(folder, {CHECKPOINT}) or (is_base(folder) and holds_only(folder, OURS))


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
        words, levels = _words(about["words"], about["levels"])
        fusions.refuse_strange_path(config.fusion, str(folder))
        dims = about["dims"]
        if set(dims) != set(fingerprints) or not all(0 < dim <= WIDEST for dim in dims.values()):
            raise InputError("its dims are not those of its modalities")
        strange = [name for name in fingerprints if not name or "." in name]
        if strange:
            raise InputError(f"'{shown(strange[0])}' is no name of a modality")
    check_memory(folder, OPENED)
    t5, tokenizer = load_t5(folder / "t5", dropout), load_tokenizer(folder / "t5")
    with reading(folder / "t5", REMEDY):
        check_tokenizer(tokenizer, t5.config.vocab_size)
        said = tuple(getattr(config, key) for key in SIZES)
        there = (t5.config.d_model, t5.config.num_layers, t5.config.num_decoder_layers)
        if config.t5 == "nano" and said != there:
            raise InputError(f"its {', '.join(SIZES)} are {there}; base.json says {said}")
    weights = _weights(folder / "base.safetensors")
    return Base(config, t5, tokenizer, dims, fingerprints, weights, learned, words, levels)


def base_status(folder: str | Path) -> dict[str, Any]:
    """What a base is, as plain values.

    Raises:
        InputError: It is no base folder, is damaged, or was written by another p5mm.
    """
    base = read_base(folder)
    return {
        "kind": "base",
        "format": VERSION,
        "learned": [asdict(of) for of in base.learned],
        "content": base.fingerprints,
        "words": list(base.words),
        "bytes": sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file()),
    }


def check_memory(folder: Path, copies: int) -> None:
    """Refuse a base that is larger than the memory, before it is opened.

    Args:
        folder: Of the base.
        copies: How often its weights are held at once.

    Raises:
        InputError: It is.
    """
    files = [folder / "base.safetensors", folder / "t5" / "model.safetensors"]
    needed = copies * sum(file.stat().st_size for file in files if file.is_file())
    if needed > (there := memory()):
        raise InputError(
            f"{folder} needs about {needed / 2**30:.1f} GiB of memory for {copies} copies of its "
            f"weights, and there are {there / 2**30:.1f}; take a smaller base, or a larger machine"
        )


def _words(
    words: Sequence[str], levels: Sequence[float]
) -> tuple[tuple[str, ...], tuple[float, ...]]:
    """What a T5 has learned to write, and the ratings that it may say.

    Raises:
        InputError: These are none.
    """
    for word in words:
        if word not in WORDS:
            raise unknown("task in words", word, WORDS)
    ascending = all(one < other for one, other in pairwise(levels))
    if len(levels) > len(LEVELS) or not ascending or any(abs(of) > HIGHEST for of in levels):
        raise InputError(f"its levels must ascend, and be {len(LEVELS)} at most")
    return tuple(words), tuple(map(float, levels))


def _weights(path: Path) -> dict[str, Tensor]:
    """The weights of a network that are no T5's and know no item."""
    arrays = read_arrays(path, None, REMEDY)
    with reading(path, REMEDY):
        for name, array in arrays.items():
            if not name.startswith(PARTS):
                raise unknown("array", name, [f"{part}.*" for part in PARTS])
            Expected(array.shape).check(array, name)
    return {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}
