"""Text transformers, and the text towers of CLIP and its kin.

The pooling and the length of a text encoder come from sentence-transformers' own files, but not
by that library: it gives the same vectors (1e-7), costs 3 s more to import (5.1 s beside
transformers' 2.1 s), and towers of CLIP, SigLIP and T5 would need these lines beside it.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from p5mm.encoders.base import encoders
from p5mm.encoders.hf.checkpoint import folder_of, has_two_towers, model_of, sees, tensor_of
from p5mm.encoders.hf.image import HFImage, image_of
from p5mm.encoders.hf.processor import pixels_of
from p5mm.encoders.towers import TextTower
from p5mm.errors import InputError

POOLINGS = ("mean", "cls", "max", "lasttoken")
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


@encoders.register("hf")
def hf(checkpoint: str) -> HFText | HFImage:
    """``hf:NAME`` or ``hf:folder``: pictures if the checkpoint sees, else text.

    Raises:
        InputError: The checkpoint cannot be loaded.
    """
    from transformers import AutoConfig

    from p5mm.encoders.frozen import loading

    with loading(f"hf:{checkpoint}", folder_of(checkpoint)):
        config = AutoConfig.from_pretrained(checkpoint)
        return image_of(checkpoint) if sees(config) else text_of(checkpoint)


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

    with loading(spec, folder_of(name)):
        return text_of(name)


def text_of(name: str) -> HFText:
    """The text encoder of a checkpoint, inside `p5mm.encoders.frozen.loading`.

    Raises:
        InputError: It takes pictures alone, or needs a package or a module that is not there.
    """
    from transformers import AutoConfig, AutoTokenizer

    config = AutoConfig.from_pretrained(name)
    two = has_two_towers(config)
    if sees(config) and not two:
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
    model = model_of(name)
    _refuse_other_modules(name)
    length = _json(name, "sentence_bert_config.json").get("max_seq_length")
    text_config = getattr(model.config, "text_config", None) or model.config
    limit = getattr(text_config, "max_position_embeddings", None) or 512
    space = _space(model, name) if two else ""
    return HFText(model, tokenizer, _pooling(name), int(length or min(limit, 512)), space)


def _space(model: Any, name: str) -> str:
    """The fingerprint of the image tower beside a text tower; "" where it wants no pictures."""
    try:
        return HFImage.marked(model, pixels_of(name))
    except OSError:  # a folder without the image processor's file
        return ""


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
