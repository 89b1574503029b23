"""Picture encoders of timm: any of its names, a checkpoint file, or a local folder."""

from pathlib import Path
from typing import Any

from p5mm.encoders.base import encoders
from p5mm.encoders.towers import ImageTower, Pixels
from p5mm.errors import InputError, unknown

CONFIG = "config.json"


class TimmImage(ImageTower):
    """A timm backbone's pooled features before its classifier.

    Args:
        model: A timm model with its classifier removed (``num_classes=0``).
        pixels: How it wants its pictures.
    """

    kind = "timm pooled"

    def __init__(self, model: Any, pixels: Pixels) -> None:
        super().__init__(model, pixels, channels_last=True)

    def features(self, pixels: Any) -> Any:
        """The pooled features ``[b, dim]``."""
        return self.model(pixels)


@encoders.register("timm")
def timm_image(checkpoint: str) -> TimmImage:
    """``timm:NAME`` (hub weights), ``timm:NAME/file.safetensors`` or ``timm:folder``.

    Raises:
        InputError: The weights cannot be loaded.
    """
    import timm

    from p5mm.encoders.frozen import loading

    name, file = _named(checkpoint)
    overlay: dict[str, Any] = {"pretrained_cfg_overlay": {"file": file}} if file else {}
    path = checkpoint if name == f"local-dir:{checkpoint}" else file
    with loading(f"timm:{checkpoint}", path):
        if not path:
            _refuse_download(name)
        model = timm.create_model(name, num_classes=0, pretrained=True, **overlay)
    return TimmImage(model, pixels_of(model))


def _named(checkpoint: str) -> tuple[str, str]:
    """The name of the model in timm, and the file with its weights ("" for those of the hub).

    Raises:
        InputError: Model, folder or file are unknown.
    """
    import timm

    name, _, file = checkpoint.partition("/")
    if (Path(checkpoint) / CONFIG).is_file():
        return f"local-dir:{checkpoint}", ""
    if checkpoint.startswith((".", "/")):
        raise InputError(f"there is no {CONFIG} in the folder {Path(checkpoint).absolute()}")
    if name.split(".")[0] not in timm.list_models():
        raise unknown("timm model", name, timm.list_models())
    if file and not Path(file).is_file():
        raise InputError(f"there is no file {Path(file).absolute()} with weights of {name}")
    return name, file


def _refuse_download(name: str) -> None:
    """Weights that no hub holds are in torch's cache, or are not fetched where none is asked."""
    import timm
    from torch.hub import get_dir

    from p5mm.encoders.frozen import refuse_download

    source: Any = timm.get_pretrained_cfg(name)
    if source is not None and source.url and not source.hf_hub_id:
        folder = Path(get_dir()) / "checkpoints"
        refuse_download(source.url, folder)


def pixels_of(model: Any) -> Pixels:
    """What timm's evaluation transform does to a picture for this model."""
    from timm.data.config import resolve_model_data_config

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
