"""CLIP through open_clip: image and text towers of any pretrained tag or local folder."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from p5mm.encoders.base import encoders


class CLIPImage:
    """CLIP's image tower, at unit length.

    Args:
        model: An open_clip model.
    """

    modality = "image"

    def __init__(self, model: Any) -> None:
        from p5mm.encoders.frozen import fingerprint, freeze

        self.pixels = pixels_of(model)
        self.model = freeze(model)
        self.fingerprint = fingerprint(model.visual, self.pixels.describe(), "clip image unit")
        self.dim: int = self.encode([np.zeros((*self.pixels.size, 3), np.uint8)]).shape[1]

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
            return unit(self.model.encode_image(self.pixels.stack(batch, device())))


class CLIPText:
    """CLIP's text tower, at unit length; in one space with `CLIPImage` of the same weights.

    Args:
        model: An open_clip model.
        tokenizer: Its tokenizer: a list of texts to ``[n, context]`` ids.
    """

    modality = "text"
    in_process = True

    def __init__(self, model: Any, tokenizer: Any) -> None:
        from p5mm.encoders.frozen import fingerprint, freeze

        self.fingerprint = fingerprint(_text_tower(model), "clip text unit")
        self.tokenizer = tokenizer
        self.model = freeze(model)
        self.dim: int = self.encode([self.load("a")]).shape[1]

    def load(self, raw: str) -> NDArray[np.int64]:
        """A text to ``[context]`` token ids, cut at the context's length.

        Raises:
            ValueError: It is not a text, or a blank one.
        """
        if not isinstance(raw, str) or not raw.strip():
            raise ValueError("blank text" if isinstance(raw, str) else "not a text")
        ids: NDArray[np.int64] = self.tokenizer([raw])[0].numpy()
        return ids

    def encode(self, batch: Sequence[NDArray[np.int64]]) -> NDArray[np.float32]:
        """Token ids to ``[n, dim]`` float32."""
        import torch

        from p5mm.encoders.frozen import device, unit

        if not batch:
            return np.zeros((0, self.dim), dtype=np.float32)
        with torch.inference_mode():
            ids = torch.from_numpy(np.stack(batch)).to(device())
            return unit(self.model.encode_text(ids))


@encoders.register("open_clip")
@encoders.register("open_clip.image")
def open_clip_image(checkpoint: str) -> CLIPImage:
    """``open_clip:MODEL/TAG``, ``open_clip:MODEL/file`` or ``open_clip:folder``: the image tower.

    Raises:
        InputError: Model or tag are unknown, or the weights cannot be loaded.
    """
    model = _load(checkpoint)[0]
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

    model, name = _load(checkpoint)
    model.visual = None
    with loading(f"open_clip:{checkpoint}"):
        return CLIPText(model, open_clip.get_tokenizer(name))


def _load(checkpoint: str) -> tuple[Any, str]:
    import open_clip

    from p5mm.encoders.frozen import loading
    from p5mm.errors import InputError, unknown

    name, _, tag = checkpoint.partition("/")
    if (Path(checkpoint) / "open_clip_config.json").is_file():
        name, tag = f"local-dir:{checkpoint}", ""
    elif name not in open_clip.list_models():
        raise unknown("open_clip model", name, open_clip.list_models())
    elif not tag:
        tags = ", ".join(open_clip.list_pretrained_tags_by_model(name))
        raise InputError(f"'open_clip:{name}' needs a tag: open_clip:{name}/TAG with one of {tags}")
    elif not Path(tag).is_file() and tag not in open_clip.list_pretrained_tags_by_model(name):
        raise unknown("open_clip tag", tag, open_clip.list_pretrained_tags_by_model(name))
    with loading(f"open_clip:{checkpoint}"):
        model = open_clip.create_model(name, pretrained=tag or None, require_pretrained=True)
    return model, name


def _text_tower(model: Any) -> Any:
    """The module that holds all text weights: its own, or the model without its visual part."""
    return getattr(model, "text", model)


def pixels_of(model: Any) -> Any:
    """What open_clip's evaluation transform does to a picture for this model."""
    from p5mm.encoders.pixels import Pixels

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
