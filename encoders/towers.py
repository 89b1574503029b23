"""The two towers that all model families share: pictures or texts through a frozen model."""

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import ceil
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from p5mm.encoders.picture import read_picture

Size = tuple[int, int]
LONG = 8  # scaled pictures of more than so many model inputs are cut before they are scaled
SUPPORT = 3  # pixels that the widest interpolation looks at on either side


@dataclass(frozen=True)
class Pixels:
    """How a checkpoint wants its pictures.

    Attributes:
        size: (height, width) of the model input.
        mean: Of red, green and blue, on a scale of 0 to 1.
        std: The same.
        resize: (height, width) to which the picture is resized before the centre crop; for
            "shortest" its shorter side and for "longest" its longer side gets there.
        mode: "shortest" (crop what is over), "longest" (pad) or "squash" (ignore the aspect).
        resample: Pillow's number of the interpolation; 2 bilinear, 3 bicubic, 1 Lanczos.
        fill: Colour of the padding, 0 to 255.
        tensors: Whether it is done as transformers does it: scaled by torchvision, which rounds
            otherwise than Pillow, and half a pixel of the crop rounded down, not to the even.
    """

    size: Size
    mean: tuple[float, ...]
    std: tuple[float, ...]
    resize: Size
    mode: str = "shortest"
    resample: int = 3
    fill: tuple[int, int, int] = (0, 0, 0)
    tensors: bool = False

    def blank(self) -> NDArray[np.uint8]:
        """A loaded picture that is black."""
        return np.zeros((*self.size, 3), dtype=np.uint8)

    def load(self, raw: Path | bytes) -> NDArray[np.uint8]:
        """A raw picture to ``[height, width, 3]`` uint8 (a quarter of the floats' traffic).

        Raises:
            ValueError: The picture is broken; the message says how.
        """
        picture = read_picture(raw, at_least=max(self.resize))
        try:
            return np.asarray(self._fit(picture))
        except MemoryError:
            raise ValueError(f"no memory to scale {picture.width} x {picture.height}") from None

    def stack(self, batch: Sequence[NDArray[np.uint8]], device: Any) -> Any:
        """Loaded pictures to ``[b, 3, height, width]`` float32, channels last in memory."""
        import torch

        pixels = torch.from_numpy(np.stack(batch)).to(device).permute(0, 3, 1, 2)
        mean = torch.tensor(self.mean, device=device).view(1, 3, 1, 1) * 255.0
        std = torch.tensor(self.std, device=device).view(1, 3, 1, 1) * 255.0
        return pixels.float().sub_(mean).div_(std)

    def describe(self) -> str:
        """A stable description, for the fingerprint; without ``tensors`` as it ever was."""
        facts = {name: fact for name, fact in asdict(self).items() if name != "tensors" or fact}
        return json.dumps(facts, sort_keys=True)

    def _fit(self, picture: Image.Image) -> Image.Image:
        width, height = picture.size
        wanted_height, wanted_width = self.resize
        if self.mode == "squash":
            new = (wanted_width, wanted_height)
        else:
            ratios = (wanted_height / height, wanted_width / width)
            ratio = max(ratios) if self.mode == "shortest" else min(ratios)
            new = (max(1, int(width * ratio + 1e-6)), max(1, int(height * ratio + 1e-6)))
        if max(new) > LONG * max(self.size):
            return self._middle(picture, new)
        return self._crop(self._scaled(picture, new))

    def _scaled(self, picture: Image.Image, new: Size) -> Image.Image:
        """The picture in a new (width, height)."""
        if not self.tensors:
            return picture.resize(new, self.resample)
        from torchvision.transforms.v2 import functional

        method = functional.InterpolationMode(Image.Resampling(self.resample).name.lower())
        whole = functional.pil_to_tensor(picture)
        scaled = functional.resize(whole, list(new[::-1]), method, antialias=True)
        return Image.fromarray(scaled.permute(1, 2, 0).numpy())

    def _middle(self, picture: Image.Image, new: Size) -> Image.Image:
        """What the centre crop keeps of ``picture.resize(new)``, without scaling the rest.

        Pillow may scale the two directions in the other order than it would for the whole.
        """
        spans = [
            _span(length, before, wanted, self.tensors)
            for length, before, wanted in zip(new, picture.size, self.size[::-1], strict=True)
        ]
        (left, right, _), (top, bottom, _) = spans
        across, down = picture.width / new[0], picture.height / new[1]
        box = (left * across, top * down, right * across, bottom * down)
        middle = picture.resize((right - left, bottom - top), self.resample, box)
        return self._cut(middle, spans[0][2], spans[1][2])

    def _crop(self, picture: Image.Image) -> Image.Image:
        height, width = self.size
        left = _before(picture.width, width, self.tensors)
        top = _before(picture.height, height, self.tensors)
        return self._cut(picture, left, top)

    def _cut(self, picture: Image.Image, left: int, top: int) -> Image.Image:
        height, width = self.size
        if (left, top) == (0, 0) and picture.size == (width, height):
            return picture
        if left >= 0 and top >= 0:
            return picture.crop((left, top, left + width, top + height))
        padded = Image.new("RGB", (width, height), self.fill)
        padded.paste(picture, (-left, -top))
        return padded


def _before(length: int, wanted: int, floor: bool) -> int:
    """What a centre crop cuts off before ``wanted`` of a side; negative where it pads."""
    return (length - wanted) // 2 if floor else round((length - wanted) / 2)


def _span(length: int, before: int, wanted: int, floor: bool) -> tuple[int, int, int]:
    """What a centre crop's interpolation looks at of a side scaled from ``before`` to ``length``.

    Returns:
        Its start and end, and where the crop begins in it.
    """
    cut = _before(length, wanted, floor)
    margin = SUPPORT * ceil(max(1.0, length / before))
    start = max(0, cut - margin)
    return start, min(length, max(cut, 0) + wanted + margin), cut - start


class Preparation(Protocol):
    """What a model wants done to its pictures; `Pixels`, or a checkpoint's own way."""

    def blank(self) -> Any:
        """A loaded picture that is black."""

    def load(self, raw: Path | bytes) -> Any:
        """A raw picture, loaded; raises ValueError with the reason where it is broken."""

    def stack(self, batch: Sequence[Any], device: Any) -> Any:
        """Loaded pictures to the model's input."""

    def describe(self) -> str:
        """A stable description, for the fingerprint."""


class ImageTower(ABC):
    """Pictures through a frozen model, at unit length; families say how in ``features``.

    Args:
        model: A torch model.
        pixels: How it wants its pictures.
        weights: The part of the model that makes the vectors; by default all of it.
        channels_last: Whether its convolutions are faster so.
    """

    modality = "image"
    kind: ClassVar[str]

    def __init__(
        self, model: Any, pixels: Preparation, weights: Any = None, channels_last: bool = False
    ) -> None:
        from p5mm.encoders.frozen import freeze

        self.model = freeze(model, channels_last)
        self.pixels = pixels
        self.fingerprint = self.marked(model if weights is None else weights, pixels)
        self.dim: int = self.encode([pixels.blank()]).shape[1]

    @classmethod
    def marked(cls, weights: Any, pixels: Preparation) -> str:
        """The fingerprint of a tower of these weights."""
        from p5mm.encoders.frozen import fingerprint

        return fingerprint(weights, pixels.describe(), f"{cls.kind} unit")

    @abstractmethod
    def features(self, pixels: Any) -> Any:
        """Pixels ``[b, 3, height, width]`` to vectors ``[b, dim]`` of any length."""

    def load(self, raw: Path | bytes) -> Any:
        """A picture to a model input: ``[height, width, 3]`` uint8; see `Pixels.load`."""
        return self.pixels.load(raw)

    def encode(self, batch: Sequence[Any]) -> NDArray[np.float32]:
        """Loaded pictures to ``[n, dim]`` float32."""
        import torch

        from p5mm.encoders.frozen import device, unit

        if not batch:
            return np.zeros((0, self.dim), dtype=np.float32)
        with torch.inference_mode():
            return unit(self.features(self.pixels.stack(batch, device())))


class TextTower(ABC):
    """Texts through a frozen model, at unit length; families say how in ``tokens``, ``features``.

    Args:
        model: A torch model.
        facts: What else decides the vectors, for the fingerprint.
        weights: The part of the model that makes the vectors; by default all of it.
    """

    modality = "text"
    one_thread = True  # tokenizers are quick, and not all of them may be shared by threads

    def __init__(self, model: Any, *facts: str, weights: Any = None) -> None:
        from p5mm.encoders.frozen import fingerprint, freeze

        self.model = freeze(model)
        self.fingerprint = fingerprint(model if weights is None else weights, *facts)
        self.dim: int = self.encode([self.load("a")]).shape[1]

    @abstractmethod
    def tokens(self, text: str) -> Any:
        """A text to ``[length]`` token ids, cut at the model's limit."""

    @abstractmethod
    def features(self, batch: Sequence[NDArray[np.int64]]) -> Any:
        """Token ids of some texts to vectors ``[b, dim]`` of any length."""

    def load(self, raw: str) -> NDArray[np.int64]:
        """A text to ``[length]`` token ids.

        Raises:
            ValueError: It is not a text, or a blank one.
        """
        if not isinstance(raw, str) or not raw.strip():
            raise ValueError("blank text" if isinstance(raw, str) else "not a text")
        return np.asarray(self.tokens(raw), dtype=np.int64)

    def encode(self, batch: Sequence[NDArray[np.int64]]) -> NDArray[np.float32]:
        """Token ids to ``[n, dim]`` float32."""
        import torch

        from p5mm.encoders.frozen import unit

        if not batch:
            return np.zeros((0, self.dim), dtype=np.float32)
        with torch.inference_mode():
            return unit(self.features(batch))
