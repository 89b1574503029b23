"""Pictures as a checkpoint's image processor wants them."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from p5mm.encoders.picture import read_picture
from p5mm.encoders.towers import LONG, Pixels

LARGE = 16_000_000  # pixels that a checkpoint's own processor is given at most


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


def pixels_of(name: str) -> Pixels | Processed:
    """What the image processor of a checkpoint does, by our own code where that is the same."""
    from transformers import AutoImageProcessor

    processor = AutoImageProcessor.from_pretrained(name)  # type: ignore[no-untyped-call]
    return _plain_pixels(processor) or Processed(processor)


def _middle(picture: Image.Image) -> Image.Image:
    """The middle of a very long picture, which is all that a centre crop keeps of it."""
    width, height = picture.size
    most = LONG * min(width, height)
    left, top = max(0, width - most) // 2, max(0, height - most) // 2
    return picture.crop((left, top, width - left, height - top))


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
