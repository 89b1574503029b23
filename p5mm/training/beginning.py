"""What a training begins from: nothing, or a pretrained base."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace

from tokenizers import Tokenizer
from torch import Tensor

from p5mm.config import Config, ModelConfig
from p5mm.encoders.base import Features
from p5mm.errors import InputError
from p5mm.model.base import Base, read_base
from p5mm.model.build import build_network, make_t5
from p5mm.model.content import Content
from p5mm.model.network import Network
from p5mm.model.prompts import Prompt
from p5mm.model.rating_prior import RatingPrior
from p5mm.model.t5 import T5


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
            return cls(), config
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

    def t5(self, config: ModelConfig, prompts: tuple[Prompt, ...]) -> tuple[T5, Tokenizer]:
        """A T5 and its tokenizer.

        Raises:
            InputError: The T5 cannot be found or opened.
        """
        if self.base is None:
            return make_t5(config, prompts)
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
