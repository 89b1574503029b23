"""From settings and content to a network and its tokenizer."""

import os
from collections.abc import Sequence
from pathlib import Path

import torch
from tokenizers import Tokenizer

from p5mm.config import ModelConfig
from p5mm.errors import InputError
from p5mm.fusion.base import Fusion, fusions
from p5mm.fusion.item import ItemTokens
from p5mm.model.content import Content
from p5mm.model.layers import T5Config
from p5mm.model.network import Network
from p5mm.model.prompts import Prompt
from p5mm.model.rating_prior import RatingPrior
from p5mm.model.relation_reader import FACTS, RelationReader, relation_names
from p5mm.model.t5 import T5, load_t5
from p5mm.model.tokenizer import VOCABULARY, WORDED, load_tokenizer, train_tokenizer

T5_FILES = ["config.json", "model.safetensors", "tokenizer.json"]


def build_network(
    config: ModelConfig,
    content: Content,
    trained: torch.Tensor,
    t5: T5,
    rating_prior: RatingPrior | None = None,
) -> Network:
    """The network of a T5 and a catalog.

    Args:
        config: Fusion and soft prompts.
        content: Vectors of the catalog's items.
        trained: ``[n]`` bool, True where an item was seen in training.
        t5: Built or loaded.
        rating_prior: Of the training ratings; None where nobody rates.
    """
    d = t5.config.d_model
    vectors, present = content.tensors()
    kind = fusions.get(config.fusion)
    if not (isinstance(kind, type) and issubclass(kind, Fusion)):
        raise InputError(f"'{config.fusion}' is no fusion; it must be a p5mm.fusion.base.Fusion")
    fusion = kind(content.dims, d, config.soft_tokens) if vectors else None
    items = ItemTokens(fusion, vectors, present, trained, d, config.soft_tokens, config.id_dropout)
    reader = RelationReader(len(relation_names(vectors)), len(FACTS), config.relations, t5.config)
    return Network(items, t5, config.temperature, reader, rating_prior)


def make_t5(
    config: ModelConfig, prompts: tuple[Prompt, ...], texts: Sequence[str] = ()
) -> tuple[T5, Tokenizer]:
    """A nano T5 with a tokenizer of the prompts, or a pretrained one with its own.

    Args:
        config: Which.
        prompts: That nano's tokenizer has the words of.
        texts: That it learns to write: nano's tokenizer has their words too.

    Raises:
        InputError: The T5 cannot be found or opened.
    """
    if config.t5 == "nano":
        words = [*(prompt.text for prompt in prompts), *texts]
        tokenizer = train_tokenizer(words, WORDED if texts else VOCABULARY)
        vocabulary = tokenizer.get_vocab_size()
        sizes = T5Config.nano(
            config.d_model, config.layers, config.dropout, vocabulary, config.decoder_layers
        )
        return T5(sizes), tokenizer
    folder = _t5_folder(config.t5)
    return load_t5(folder, config.dropout), load_tokenizer(folder)


def without_path(t5: str) -> str:
    """What a saved model says of its T5: ``nano``, a hub name, or of a folder its last name."""
    return Path(t5).name if Path(t5).is_dir() else t5


def _t5_folder(name: str) -> Path:
    """A local folder as it is, or a hub name fetched into the hub's cache."""
    if Path(name).is_dir():
        return Path(name)
    if name.startswith((".", os.sep)) or name.count("/") > 1:
        raise InputError(f"there is no T5 folder {name}")
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=T5_FILES))
    except Exception as error:
        raise InputError(
            f"the T5 '{name}' cannot be fetched from the model hub ({type(error).__name__}); "
            "give model.t5 a local folder with config.json, model.safetensors and tokenizer.json, "
            "or nano"
        ) from error
