"""A checkpoint in Hugging Face form: its folder, its model, its towers."""

import re
from pathlib import Path
from typing import Any

from p5mm.errors import InputError

CONFIG = "config.json"


def finds_pictures(checkpoint: str) -> bool:
    """Whether a checkpoint has a text tower that shares a space with its image tower.

    Raises:
        InputError: The checkpoint cannot be found.
    """
    from transformers import AutoConfig

    from p5mm.encoders.frozen import loading

    with loading(f"hf:{checkpoint}", folder_of(checkpoint)):
        return has_two_towers(AutoConfig.from_pretrained(checkpoint))


def has_two_towers(config: Any) -> bool:
    """Whether a checkpoint of this config gives pictures and texts vectors in one space."""
    from transformers import MODEL_MAPPING

    model = MODEL_MAPPING.get(type(config), None)
    return all(hasattr(model, f"get_{side}_features") for side in ("image", "text"))


def sees(config: Any) -> bool:
    """Whether a checkpoint of this config takes pictures."""
    return hasattr(config, "vision_config") or hasattr(config, "num_channels")


def folder_of(checkpoint: str) -> str:
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


def model_of(name: str) -> Any:
    """The model in single precision, without a decoder or an untrained pooler.

    Raises:
        InputError: It lacks weights.
    """
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


def tensor_of(output: Any) -> Any:
    """The features of CLIP-like models, which transformers 5 wraps in an output object."""
    return getattr(output, "pooler_output", output)
