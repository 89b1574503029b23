"""What a training begins from: nothing, or a pretrained base."""

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn.utils import parametrize

from p5mm.config import Config, ModelConfig
from p5mm.encoders.base import Features
from p5mm.errors import InputError
from p5mm.model.base import Base, check_memory, read_base
from p5mm.model.build import build_network, make_t5
from p5mm.model.content import Content
from p5mm.model.network import Network
from p5mm.model.prompts import Prompt
from p5mm.model.rating_prior import RatingPrior
from p5mm.model.t5 import T5

HELD = {"all": 8, "lora": 5, "frozen": 5}  # copies of a base's weights in a training, measured,
REHEARSED = 4  # and of those of its rehearsal
RANK = 8  # of what LoRA adds to a matrix


@dataclass(frozen=True)
class Beginning:
    """Where the weights of a new network come from.

    Attributes:
        base: None begins from nothing.
    """

    base: Base | None = None

    @classmethod
    def of(cls, config: Config) -> "tuple[Beginning, Config]":
        """What a configuration names, and the configuration without the folder.

        Raises:
            InputError: It is no base, has other sizes, or nothing is to be trained without one.
        """
        if config.model.base is None:
            if not config.train.epochs:
                raise InputError(
                    "train.epochs is 0, and there is no base that could rank untrained; give one "
                    "with --model.base BASE, or an epoch or more"
                )
            if config.train.adapt != "all" and config.model.t5 == "nano":
                raise InputError(
                    f"train.adapt is {config.train.adapt}, and a nano T5 begins from nothing: all "
                    "of it must learn; give a base with --model.base BASE, or leave it out"
                )
            return cls(), config
        if config.train.epochs:
            copies = HELD[config.train.adapt] + (REHEARSED if config.train.tasks else 0)
            check_memory(Path(config.model.base), copies)
        base = read_base(config.model.base, config.model.dropout)
        base.check(config.model)
        if not config.train.epochs and config.retrieval.generate:
            raise InputError(
                "retrieval.generate is true, and train.epochs 0 learns no codes; leave one out"
            )
        return cls(base), replace(config, model=replace(config.model, base=None, t5=base.config.t5))

    @property
    def digest(self) -> str:
        """Of the base; empty without one."""
        return "" if self.base is None else self.base.digest

    def content(self, features: Sequence[Features], items: int, whiten: bool) -> Content:
        """A catalog's content, as the base wants it.

        Raises:
            InputError: A modality comes from another encoder than the base's.
        """
        of = Content.of if self.base is None else self.base.content
        return of(features, items, whiten)

    def t5(
        self, config: ModelConfig, prompts: tuple[Prompt, ...], texts: Sequence[str] = ()
    ) -> tuple[T5, Tokenizer]:
        """A T5 and its tokenizer; see `make_t5`.

        Raises:
            InputError: The T5 cannot be found or opened.
        """
        if self.base is None:
            return make_t5(config, prompts, texts)
        return copy.deepcopy(self.base.t5), self.base.tokenizer

    def network(
        self,
        config: ModelConfig,
        content: Content,
        trained: Tensor,
        t5: T5,
        prior: RatingPrior | None = None,
    ) -> Network:
        """The network of a T5 from here and a catalog; see `build_network`.

        Raises:
            InputError: The fusion of the base does not fit the modalities.
        """
        network = build_network(config, content, trained, t5, prior)
        if self.base is not None:
            self.base.start(network)
        return network


class LowRank(nn.Module):
    """``W + up down``: what LoRA (Hu et al. 2022) learns of a matrix that stays as it is.

    Args:
        weight: ``[rows, columns]``.
    """

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        rows, columns = weight.shape
        rank = min(RANK, rows, columns)
        self.down = nn.Parameter(torch.randn(rank, columns) * columns**-0.5)
        self.up = nn.Parameter(torch.zeros(rows, rank))

    def forward(self, weight: Tensor) -> Tensor:
        """The matrix that is used."""
        return weight + self.up @ self.down


@contextmanager
def adapted(module: nn.Module, how: str) -> Iterator[None]:
    """While it lasts, so much of a module learns; afterwards it is as any other.

    Args:
        module: Whose linear layers may be added to.
        how: ``all``, ``lora`` or ``frozen``.
    """
    held = [] if how == "all" else [p for p in module.parameters() if p.requires_grad]
    linears = [of for of in module.modules() if isinstance(of, nn.Linear)] if how == "lora" else []
    for parameter in held:
        parameter.requires_grad_(False)
    for linear in linears:
        parametrize.register_parametrization(linear, "weight", LowRank(linear.weight))
    try:
        yield
    finally:
        for linear in linears:
            parametrize.remove_parametrizations(linear, "weight")
        for parameter in held:
            parameter.requires_grad_(True)
