"""CLIP through open_clip: image and text towers of any pretrained tag or local folder."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from p5mm.encoders.base import encoders
from p5mm.encoders.towers import ImageTower, Pixels, TextTower
from p5mm.errors import InputError, unknown

CONFIG = "open_clip_config.json"


class CLIPImage(ImageTower):
    """CLIP's image tower.

    Args:
        model: An open_clip model.
    """

    kind = "clip image"

    def __init__(self, model: Any) -> None:
        super().__init__(model, pixels_of(model), weights=model.visual)

    def features(self, pixels: Any) -> Any:
        """The image projection ``[b, dim]``."""
        return self.model.encode_image(pixels)


class CLIPText(TextTower):
    """CLIP's text tower; in one space with `CLIPImage` of the same weights.

    Args:
        model: An open_clip model.
        tokenizer: Its tokenizer: a list of texts to ``[n, context]`` ids.
    """

    def __init__(self, model: Any, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self.space = CLIPImage.marked(model.visual, pixels_of(model))
        model.visual = None
        # All text weights: a module of their own, or the model without its visual part.
        super().__init__(model, "clip text unit", weights=getattr(model, "text", model))

    def tokens(self, text: str) -> Any:
        """A text to ``[context]`` token ids."""
        return self.tokenizer([text])[0]

    def features(self, batch: Sequence[NDArray[np.int64]]) -> Any:
        """The text projection ``[b, dim]``."""
        import torch

        from p5mm.encoders.frozen import device

        return self.model.encode_text(torch.from_numpy(np.stack(batch)).to(device()))


@encoders.register("open_clip")
@encoders.register("open_clip.image")
def open_clip_image(checkpoint: str) -> CLIPImage:
    """``open_clip:MODEL/TAG``, ``open_clip:MODEL/file`` or ``open_clip:folder``: the image tower.

    Raises:
        InputError: Model or tag are unknown, or the weights cannot be loaded.
    """
    model = _load(checkpoint, *_named(checkpoint))
    for unused in ("transformer", "text", "token_embedding"):
        if hasattr(model, unused):
            setattr(model, unused, None)
    return CLIPImage(model)


@encoders.register("open_clip.text")
def open_clip_text(checkpoint: str) -> CLIPText:
    """The text tower of the same spec.

    Raises:
        InputError: Model or tag are unknown, or the weights cannot be loaded.
    """
    import open_clip

    from p5mm.encoders.frozen import loading

    name, weights, path = _named(checkpoint)
    model = _load(checkpoint, name, weights, path)
    with loading(f"open_clip:{checkpoint}", path or ("" if _needs_hub(name) else name)):
        return CLIPText(model, open_clip.get_tokenizer(name))


def _named(checkpoint: str) -> tuple[str, str, str]:
    """open_clip's name of the model and of its weights, and their path where no hub is needed.

    Raises:
        InputError: Model, tag, folder or file are unknown.
    """
    import open_clip

    name, _, tag = checkpoint.partition("/")
    if (Path(checkpoint) / CONFIG).is_file():
        return f"local-dir:{checkpoint}", "", checkpoint
    if checkpoint.startswith((".", "/")):
        raise InputError(f"there is no {CONFIG} in the folder {Path(checkpoint).absolute()}")
    if name not in open_clip.list_models():
        raise unknown("open_clip model", name, open_clip.list_models())
    tags = open_clip.list_pretrained_tags_by_model(name)
    if not tag:
        raise InputError(
            f"'open_clip:{name}' needs a tag: open_clip:{name}/TAG with one of {', '.join(tags)}"
        )
    if Path(tag).is_file():
        return name, tag, "" if _needs_hub(name) else tag
    if tag.startswith((".", "/")):
        raise InputError(f"there is no file {Path(tag).absolute()} with weights of {name}")
    if tag not in tags:
        raise unknown("open_clip tag", tag, tags)
    return name, tag, ""


def _needs_hub(name: str) -> bool:
    """Whether the text tower or the tokenizer comes from the hub, wherever the weights are."""
    import open_clip

    text = open_clip.get_model_config(name)["text_cfg"]
    return bool(text.get("hf_model_name") or text.get("hf_tokenizer_name"))


def _load(checkpoint: str, name: str, weights: str, path: str) -> Any:
    import open_clip

    from p5mm.encoders.frozen import loading, refuse_download

    with loading(f"open_clip:{checkpoint}", path):
        source = {} if path else open_clip.get_pretrained_cfg(name, weights)
        if source.get("url") and not source.get("hf_hub"):
            refuse_download(source["url"], "~/.cache/clip")
        return open_clip.create_model(name, pretrained=weights or None, require_pretrained=True)


def pixels_of(model: Any) -> Pixels:
    """What open_clip's evaluation transform does to a picture for this model."""
    cfg = model.visual.preprocess_cfg
    size = cfg["size"] if not isinstance(cfg["size"], int) else (cfg["size"], cfg["size"])
    return Pixels(
        size=tuple(size),
        mean=tuple(cfg["mean"]),
        std=tuple(cfg["std"]),
        resize=tuple(size),
        mode=cfg["resize_mode"],
        resample=2 if cfg["interpolation"] == "bilinear" else 3,
        fill=(cfg["fill_color"],) * 3,
    )
