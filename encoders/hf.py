"""Text and picture encoders in Hugging Face form: a hub name or a local folder.

The pooling and the length of a text encoder come from sentence-transformers' own files, but not
by that library: it gives the same vectors (1e-7), costs 3 s more to import (5.1 s beside
transformers' 2.1 s), and towers of CLIP, SigLIP and T5 would need these lines beside it.
"""

import json
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from p5mm.encoders.base import encoders
from p5mm.encoders.picture import read_picture
from p5mm.encoders.towers import LONG, ImageTower, Pixels, TextTower
from p5mm.errors import InputError

CONFIG = "config.json"
POOLINGS = ("mean", "cls", "max", "lasttoken")
LARGE = 16_000_000  # pixels that a checkpoint's own processor is given at most
TEXT_MODULES = ("Transformer", "Pooling", "Normalize")


class HFText(TextTower):
    """A text transformer's pooled states (or CLIP's text projection).

    Args:
        model: A transformers model without its unused pooler.
        tokenizer: The checkpoint's tokenizer.
        pooling: "mean", "cls", "max" or "lasttoken" of the last states.
        max_length: Longer texts are cut here, in tokens.
        space: Fingerprint of the image tower of the same checkpoint; "" where it has none.
    """

    def __init__(
        self, model: Any, tokenizer: Any, pooling: str, max_length: int, space: str = ""
    ) -> None:
        self.tokenizer = tokenizer
        self.pooling = pooling
        self.max_length = max_length
        self.space = space
        # SigLIP was trained on rows of full length, and reads its vector from their last token.
        self.padded = str(getattr(model.config, "model_type", "")).startswith("siglip")
        words = json.dumps(sorted(tokenizer.get_vocab().items()))
        super().__init__(model, words, f"hf text {pooling} {max_length} unit")

    def tokens(self, text: str) -> Any:
        """A text to ``[length]`` token ids, cut at ``max_length``."""
        return self.tokenizer(text, truncation=True, max_length=self.max_length)["input_ids"]

    def features(self, batch: Sequence[NDArray[np.int64]]) -> Any:
        """The text projection, or the pooled states ``[b, dim]``."""
        import torch

        from p5mm.encoders.frozen import device

        rows = {name: torch.from_numpy(row).to(device()) for name, row in self._pad(batch).items()}
        if hasattr(self.model, "get_text_features"):
            return tensor_of(self.model.get_text_features(**rows))
        return pool(self.model(**rows).last_hidden_state, rows["attention_mask"], self.pooling)

    def _pad(self, batch: Sequence[NDArray[np.int64]]) -> dict[str, NDArray[np.int64]]:
        """``[b, width]`` ids and mask; of SigLIP a mask only where its tokenizer gives one."""
        width = self.max_length if self.padded else max(len(ids) for ids in batch)
        left = self.padded and self.tokenizer.padding_side == "left"
        ids = np.full((len(batch), width), self.tokenizer.pad_token_id or 0, dtype=np.int64)
        mask = np.zeros_like(ids)
        for row, text in enumerate(batch):
            place = slice(width - len(text), None) if left else slice(len(text))
            ids[row, place] = text
            mask[row, place] = 1
        if self.padded and "attention_mask" not in self.tokenizer.model_input_names:
            return {"input_ids": ids}
        return {"input_ids": ids, "attention_mask": mask}


class HFImage(ImageTower):
    """A vision model's pooled output or class token (or CLIP's image projection).

    Args:
        model: A transformers model without its unused pooler.
        pixels: How it wants its pictures.
    """

    kind = "hf image"

    def features(self, pixels: Any) -> Any:
        """The image projection, the pooled output, or the class token ``[b, dim]``."""
        given = pixels if isinstance(pixels, dict) else {"pixel_values": pixels.contiguous()}
        if hasattr(self.model, "get_image_features"):
            return tensor_of(self.model.get_image_features(**given))
        output = self.model(**given)
        if getattr(output, "pooler_output", None) is not None:
            return output.pooler_output.flatten(1)
        states = output.last_hidden_state
        if states.ndim == 4:  # a convolutional map [b, d, h, w]
            return states.mean(dim=(2, 3))
        classed = getattr(getattr(self.model, "embeddings", None), "cls_token", None)
        return states.mean(dim=1) if classed is None else states[:, 0]


class Processed:
    """Pictures through a checkpoint's own processor, where `Pixels` cannot say what it does.

    Args:
        processor: An image processor of transformers.
    """

    def __init__(self, processor: Any) -> None:
        self.processor = processor

    def blank(self) -> dict[str, NDArray[Any]]:
        """A loaded picture that is black."""
        return self._processed(Image.new("RGB", (64, 64)))

    def load(self, raw: Path | bytes) -> dict[str, NDArray[Any]]:
        """A raw picture to the model's arguments, without the axis of the batch.

        Raises:
            ValueError: The picture is broken; the message says how.
        """
        return self._processed(read_picture(raw))

    def stack(self, batch: Sequence[dict[str, NDArray[Any]]], device: Any) -> dict[str, Any]:
        """Loaded pictures to the model's arguments."""
        import torch

        return {
            name: torch.from_numpy(np.stack([made[name] for made in batch])).to(device)
            for name in batch[0]
        }

    def describe(self) -> str:
        """A stable description, for the fingerprint."""
        return str(self.processor.to_json_string())

    def _processed(self, picture: Image.Image) -> dict[str, NDArray[Any]]:
        picture = (
            _middle(picture) if _lengths(self.processor, "size").get("shortest_edge") else picture
        )
        over = math.ceil(math.sqrt(picture.width * picture.height / LARGE))
        picture = picture.reduce(over) if over > 1 else picture  # processors work in floats
        made = self.processor(picture, return_tensors="pt")
        return {name: made[name][0].numpy() for name in self.processor.model_input_names}


def _middle(picture: Image.Image) -> Image.Image:
    """The middle of a very long picture, which is all that a centre crop keeps of it."""
    width, height = picture.size
    most = LONG * min(width, height)
    left, top = max(0, width - most) // 2, max(0, height - most) // 2
    return picture.crop((left, top, width - left, height - top))


def pool(states: Any, mask: Any, pooling: str) -> Any:
    """Token states ``[b, l, d]`` to ``[b, d]``; ``mask`` ``[b, l]`` is 1 for real tokens."""
    real = mask.unsqueeze(-1).to(states.dtype)
    if pooling == "cls":
        return states[:, 0]
    if pooling == "max":
        return states.masked_fill(real == 0, float("-inf")).amax(dim=1)
    if pooling == "lasttoken":
        return states[range(len(states)), mask.sum(dim=1) - 1]
    return (states * real).sum(dim=1) / real.sum(dim=1)


def tensor_of(output: Any) -> Any:
    """The features of CLIP-like models, which transformers 5 wraps in an output object."""
    return getattr(output, "pooler_output", output)


def finds_pictures(checkpoint: str) -> bool:
    """Whether a checkpoint has a text tower that shares a space with its image tower.

    Raises:
        InputError: The checkpoint cannot be found.
    """
    from transformers import AutoConfig

    from p5mm.encoders.frozen import loading

    with loading(f"hf:{checkpoint}", _folder(checkpoint)):
        return _has_two_towers(AutoConfig.from_pretrained(checkpoint))


def _has_two_towers(config: Any) -> bool:
    from transformers import MODEL_MAPPING

    model = MODEL_MAPPING.get(type(config), None)
    return all(hasattr(model, f"get_{side}_features") for side in ("image", "text"))


def _sees(config: Any) -> bool:
    return hasattr(config, "vision_config") or hasattr(config, "num_channels")


@encoders.register("hf")
def hf(checkpoint: str) -> HFText | HFImage:
    """``hf:NAME`` or ``hf:folder``: pictures if the checkpoint sees, else text.

    Raises:
        InputError: The checkpoint cannot be loaded.
    """
    from transformers import AutoConfig

    from p5mm.encoders.frozen import loading

    with loading(f"hf:{checkpoint}", _folder(checkpoint)):
        sees = _sees(AutoConfig.from_pretrained(checkpoint))
        return _image(checkpoint) if sees else _text(checkpoint)


@encoders.register("hf.text")
def hf_text(checkpoint: str) -> HFText:
    """``hf.text:NAME`` or a folder: BERT-like, T5 encoder, CLIP or SigLIP text tower.

    Raises:
        InputError: The checkpoint cannot be loaded.
    """
    return text_folder(checkpoint, f"hf.text:{checkpoint}")


def text_folder(name: str, spec: str) -> HFText:
    """A text encoder with the pooling and length that sentence-transformers' files say.

    Raises:
        InputError: The checkpoint cannot be loaded; ``spec`` is named in the message.
    """
    from p5mm.encoders.frozen import loading

    with loading(spec, _folder(name)):
        return _text(name)


@encoders.register("hf.image")
def hf_image(checkpoint: str) -> HFImage:
    """``hf.image:NAME`` or a folder: ViT, DINO, CLIP or SigLIP image tower, or a ConvNet.

    Raises:
        InputError: The checkpoint cannot be loaded.
    """
    from p5mm.encoders.frozen import loading

    with loading(f"hf.image:{checkpoint}", _folder(checkpoint)):
        return _image(checkpoint)


def _folder(checkpoint: str) -> str:
    """The local folder that a checkpoint is; "" for a name on the hub.

    Raises:
        InputError: It is neither.
    """
    if Path(checkpoint).is_dir():
        if not (Path(checkpoint) / CONFIG).is_file():
            raise InputError(f"there is no {CONFIG} in the folder {Path(checkpoint).absolute()}")
        return checkpoint
    if not re.fullmatch(r"\w[\w.-]*(/[\w.-]+)?", checkpoint):
        raise InputError(
            f"there is no such folder: {Path(checkpoint).absolute()} (and '{checkpoint}' is no "
            "name of a model on a hub); give hf:FOLDER or hf:OWNER/NAME"
        )
    return ""


def _text(name: str) -> HFText:
    from transformers import AutoConfig, AutoTokenizer

    config = AutoConfig.from_pretrained(name)
    two = _has_two_towers(config)
    if _sees(config) and not two:
        raise InputError(
            f"'{name}' takes pictures alone: it has no text tower, as CLIP and SigLIP have"
        )
    try:
        tokenizer = AutoTokenizer.from_pretrained(name)
    except ImportError as error:
        raise InputError(
            f"the tokenizer of '{name}' needs a package that is not installed "
            f'({" ".join(str(error).split())[:80]} ...); type: pip install "p5mm[siglip]"'
        ) from error
    model = _model(name)
    _refuse_other_modules(name)
    length = _json(name, "sentence_bert_config.json").get("max_seq_length")
    text_config = getattr(model.config, "text_config", None) or model.config
    limit = getattr(text_config, "max_position_embeddings", None) or 512
    space = _space(model, name) if two else ""
    return HFText(model, tokenizer, _pooling(name), int(length or min(limit, 512)), space)


def _space(model: Any, name: str) -> str:
    """The fingerprint of the image tower beside a text tower; "" where it wants no pictures."""
    try:
        return HFImage.marked(model, _pixels(name))
    except OSError:  # a folder without the image processor's file
        return ""


def _image(name: str) -> HFImage:
    return HFImage(_model(name), _pixels(name))


def _model(name: str) -> Any:
    import torch
    from transformers import AutoModel
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # a second, and nothing to wait for
    model, info = AutoModel.from_pretrained(name, dtype=torch.float32, output_loading_info=True)
    if model.config.is_encoder_decoder:
        return model.get_encoder()
    missing = [key for key in info["missing_keys"] if "pooler" not in key]
    if missing:
        raise InputError(f"'{name}' lacks weights: {', '.join(missing[:3])}, ...")
    pooler = getattr(model, "pooler", None)
    if pooler is not None and next(pooler.parameters(), None) is not None:
        model.pooler = None  # never used here, and random where the checkpoint has none
    return model


def _json(name: str, file: str) -> dict[str, Any]:
    from transformers.utils.hub import cached_file

    path = cached_file(name, file, _raise_exceptions_for_missing_entries=False)
    content = json.loads(Path(path).read_text("utf-8")) if path else {}
    return content if isinstance(content, dict) else {"modules": content}


def _pooling(name: str) -> str:
    config = _json(name, "1_Pooling/config.json")
    if isinstance(config.get("pooling_mode"), str):
        return _known(name, config["pooling_mode"])
    for key, on in config.items():
        if key.startswith("pooling_mode_") and on:
            mode = key.removeprefix("pooling_mode_").removesuffix("_tokens")
            return _known(name, mode.removesuffix("_token"))
    return "mean"


def _known(name: str, mode: str) -> str:
    if mode not in POOLINGS:
        raise InputError(f"'{name}' pools by '{mode}'; p5mm knows {', '.join(POOLINGS)}")
    return mode


def _refuse_other_modules(name: str) -> None:
    for module in _json(name, "modules.json").get("modules", []):
        kind = module["type"].rpartition(".")[2]
        if kind not in TEXT_MODULES:
            raise InputError(
                f"'{name}' has a {kind} module; p5mm reads {', '.join(TEXT_MODULES)}. "
                "Wrap the model in an encoder of your own and give module:Class"
            )


def _pixels(name: str) -> Pixels | Processed:
    from transformers import AutoImageProcessor

    processor = AutoImageProcessor.from_pretrained(name)  # type: ignore[no-untyped-call]
    return _plain_pixels(processor) or Processed(processor)


def _plain_pixels(processor: Any) -> Pixels | None:
    """What a processor does, where it only resizes, crops and normalises; else None."""
    size, crop = _lengths(processor, "size"), _lengths(processor, "crop_size")
    own = any("_preprocess" in vars(kind) for kind in type(processor).__mro__ if _of_a_model(kind))
    scale = processor.rescale_factor if processor.do_rescale else 0
    if own or not processor.do_resize or not math.isclose(scale, 1 / 255, rel_tol=1e-6):
        return None
    if set(size) == {"shortest_edge"}:
        resize, mode = (size["shortest_edge"],) * 2, "shortest"
    elif set(size) == {"height", "width"}:
        resize, mode = (size["height"], size["width"]), "squash"
    else:
        return None
    if processor.do_center_crop:
        wanted = (crop.get("height", 0), crop.get("width", 0))
    else:
        wanted = resize if mode == "squash" else (0, 0)
    if not all(0 < part <= whole for part, whole in zip(wanted, resize, strict=True)):
        return None  # pictures of many sizes, or padded ones
    normal = processor.do_normalize
    return Pixels(
        size=wanted,
        mean=tuple(processor.image_mean) if normal else (0.0, 0.0, 0.0),
        std=tuple(processor.image_std) if normal else (1.0, 1.0, 1.0),
        resize=resize,
        mode=mode,
        resample=int(processor.resample),
        tensors=not type(processor).__name__.endswith("Pil"),
    )


def _lengths(processor: Any, name: str) -> dict[str, int]:
    """A size of a processor: the lengths that it says, by their names."""
    sizes = dict(getattr(processor, name, None) or {})
    return {key: int(length) for key, length in sizes.items() if length}


def _of_a_model(kind: type) -> bool:
    return kind.__module__.startswith("transformers.models.")
