"""Picture to model input: resize, crop and normalise, as vision checkpoints describe it."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from p5mm.encoders.picture import read_picture

Size = tuple[int, int]


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
    """

    size: Size
    mean: tuple[float, ...]
    std: tuple[float, ...]
    resize: Size
    mode: str = "shortest"
    resample: int = 3
    fill: tuple[int, int, int] = (0, 0, 0)

    def load(self, raw: Path | bytes) -> NDArray[np.uint8]:
        """A raw picture to ``[height, width, 3]`` uint8 (a quarter of the floats' traffic).

        Raises:
            ValueError: The picture is broken; the message says how.
        """
        picture = read_picture(raw, at_least=max(self.resize))
        return np.asarray(self._fit(picture))

    def stack(self, batch: Sequence[NDArray[np.uint8]], device: torch.device) -> torch.Tensor:
        """Loaded pictures to ``[b, 3, height, width]`` float32, channels last in memory."""
        pixels = torch.from_numpy(np.stack(batch)).to(device).permute(0, 3, 1, 2)
        mean = torch.tensor(self.mean, device=device).view(1, 3, 1, 1) * 255.0
        std = torch.tensor(self.std, device=device).view(1, 3, 1, 1) * 255.0
        return pixels.float().sub_(mean).div_(std)

    def describe(self) -> str:
        """A stable description, for the fingerprint."""
        return json.dumps(asdict(self), sort_keys=True)

    def _fit(self, picture: Image.Image) -> Image.Image:
        width, height = picture.size
        wanted_height, wanted_width = self.resize
        if self.mode == "squash":
            new = (wanted_width, wanted_height)
        else:
            ratios = (wanted_height / height, wanted_width / width)
            ratio = max(ratios) if self.mode == "shortest" else min(ratios)
            new = (max(1, int(width * ratio + 1e-6)), max(1, int(height * ratio + 1e-6)))
        return self._crop(picture.resize(new, self.resample))

    def _crop(self, picture: Image.Image) -> Image.Image:
        height, width = self.size
        left, top = round((picture.width - width) / 2), round((picture.height - height) / 2)
        if (left, top) == (0, 0) and picture.size == (width, height):
            return picture
        if left >= 0 and top >= 0:
            return picture.crop((left, top, left + width, top + height))
        padded = Image.new("RGB", (width, height), self.fill)
        padded.paste(picture, (-left, -top))
        return padded
