"""Picture encoders of timm: any of its names, a checkpoint file, or a local folder."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from p5mm.encoders.base import encoders


class TimmImage:
    """A timm backbone's pooled features before its classifier, at unit length.

    Args:
        model: A timm model with its classifier removed (``num_classes=0``).
        pixels: How it wants its pictures.
    """

    modality = "image"

    def __init__(self, model: Any, pixels: Any) -> None:
        from p5mm.encoders.frozen import fingerprint, freeze

        self.model = freeze(model, channels_last=True)
        self.pixels = pixels
        self.dim: int = model.num_features
        self.fingerprint = fingerprint(model, pixels.describe(), "timm pooled unit")

    def load(self, raw: Path | bytes) -> NDArray[np.uint8]:
        """A picture to ``[height, width, 3]`` uint8; see `Pixels.load`."""
        loaded: NDArray[np.uint8] = self.pixels.load(raw)
        return loaded

    def encode(self, batch: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Loaded pictures to ``[n, dim]`` float32."""
        import torch

        from p5mm.encoders.frozen import device, unit

        if not batch:
            return np.zeros((0, self.dim), dtype=np.float32)
        with torch.inference_mode():
            return unit(self.model(self.pixels.stack(batch, device())))


@encoders.register("timm")
def timm_image(checkpoint: str) -> TimmImage:
    """``timm:NAME`` (hub weights), ``timm:NAME/file.safetensors`` or ``timm:folder``.

    Raises:
        InputError: The weights cannot be loaded.
    """
    import timm

    from p5mm.encoders.frozen import loading
    from p5mm.errors import unknown

    name, _, file = checkpoint.partition("/")
    kwargs: dict[str, Any] = {"pretrained": True}
    if (Path(checkpoint) / "config.json").is_file():
        name = f"local-dir:{checkpoint}"
    elif name.split(".")[0] not in timm.list_models():
        raise unknown("timm model", name, timm.list_models())
    elif file:
        kwargs["pretrained_cfg_overlay"] = {"file": file}
    with loading(f"timm:{checkpoint}"):
        model = timm.create_model(name, num_classes=0, **kwargs)
    return TimmImage(model, pixels_of(model))


def pixels_of(model: Any) -> Any:
    """What timm's evaluation transform does to a picture for this model."""
    from timm.data.config import resolve_model_data_config

    from p5mm.encoders.pixels import Pixels

    data: Any = resolve_model_data_config(model)  # type: ignore[no-untyped-call]
    height, width = data["input_size"][-2:]
    modes = {"center": "shortest", "squash": "squash", "border": "longest"}
    return Pixels(
        size=(height, width),
        mean=tuple(data["mean"]),
        std=tuple(data["std"]),
        resize=(int(height / data["crop_pct"]), int(width / data["crop_pct"])),
        mode=modes[data["crop_mode"]],
        resample={"nearest": 0, "lanczos": 1, "bilinear": 2}.get(data["interpolation"], 3),
        fill=tuple(round(255 * value) for value in data["mean"]),
    )
