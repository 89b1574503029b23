"""The configuration: frozen dataclasses that a YAML mirrors one to one."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from p5mm.dataset import DataConfig
from p5mm.errors import InputError, unknown

Ablation = Literal["real", "zero", "shuffled"]
UNKNOWN_KEY = (  # how jsonargparse says it
    r"unrecognized arguments: --([\w.]+)",
    r"Group '([\w.]+)' does not accept option '([\w.]+)'",
    r"Option '([\w.]+)' is not accepted",
)


@dataclass(frozen=True)
class EncoderConfig:
    """Which encoders make the item vectors.

    Attributes:
        image: Spec of the image encoder; none to leave pictures out.
        text: Spec of the text encoder; none to leave texts out.
        others: Specs of further encoders, such as vector:COLUMN or module:Class.
        workers: Processes that decode pictures; -1 chooses by the machine.
        ablate: Modality to what training and serving see of it: real, zero (every item lacks it)
            or shuffled (each item has the vector of another). ``--encoders.ablate.image zero``.
    """

    image: str = "embedded"
    text: str = "embedded"
    others: tuple[str, ...] = ()
    workers: int = -1
    ablate: dict[str, Ablation] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, how in self.ablate.items():
            if how not in get_args(Ablation):
                raise unknown(f"value of encoders.ablate.{name}", how, get_args(Ablation))


@dataclass(frozen=True)
class ModelConfig:
    """The T5 and its soft prompts.

    Attributes:
        t5: nano (from scratch), a folder in Hugging Face's T5 layout, or a hub name.
        d_model: Width of nano; heads and feed-forward follow.
        layers: Encoder blocks and decoder blocks of nano.
        dropout: Dropout everywhere in the T5.
        fusion: How modalities are mixed: attention, concat, gate, or module:Class.
        soft_tokens: Soft tokens an item.
        id_dropout: Probability that a step hides an item's id, so that content alone must work.
        whiten: Whether content vectors are whitened.
        max_history: Items of a history that are read.
    """

    t5: str = "nano"
    d_model: int = 128
    layers: int = 2
    dropout: float = 0.2
    fusion: str = "gate"
    soft_tokens: int = 1
    id_dropout: float = 0.1
    whiten: bool = True
    max_history: int = 200

    def __post_init__(self) -> None:
        if not 0 <= self.dropout < 1 or not 0 <= self.id_dropout < 1:
            raise InputError("model.dropout and model.id_dropout must be at least 0 and below 1")
        if min(self.d_model, self.layers, self.soft_tokens, self.max_history) < 1:
            raise InputError(
                "model.d_model, model.layers, model.soft_tokens and model.max_history "
                "must be at least 1"
            )


@dataclass(frozen=True)
class TrainConfig:
    """How the model is trained.

    Attributes:
        epochs: At most so many passes over all prefixes.
        patience: Passes without a gain in validation NDCG@10 (for the decoder's tasks: in their
            loss) that matters, .2 %, before training stops.
        positions: History positions in a batch.
        learning_rate: Peak rate of AdamW.
        weight_decay: Decay of the weight matrices.
        warmup: Steps of linear warm-up.
        negatives: Negatives shared by a batch; a catalog of up to 4 times as many, or 0, takes
            the softmax over the whole catalog.
        tasks: Families of prompts that the decoder learns, after the retriever, and how often each
            is drawn beside the others; empty leaves the decoder untrained.
        task_epochs: At most so many passes of the decoder's training on the tasks.
        prompts: File of prompts; p5mm's own (p5mm/prompts.txt) where not given.
        rank_requests: Requests of a task in a step, spread over the histories of the batch.
        rank_candidates: Candidates of a training request, the target among them.
        precision: auto measures on this machine whether bf16 is faster than fp32.
        seed: Seed of everything random.
    """

    epochs: int = 100
    patience: int = 5
    positions: int = 1024
    learning_rate: float = 2e-3
    weight_decay: float = 0.01
    warmup: int = 100
    negatives: int = 2048
    tasks: dict[str, float] = field(default_factory=lambda: {"sequential": 0.5})
    task_epochs: int = 8
    prompts: str | None = None
    rank_requests: int = 128
    rank_candidates: int = 16
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.epochs, self.task_epochs, self.patience, self.positions) < 1:
            raise InputError(
                "train.epochs, train.task_epochs, train.patience and train.positions must be at "
                "least 1"
            )
        if self.rank_candidates < 2 or self.rank_requests < 1:
            raise InputError("train.rank_candidates must be at least 2, rank_requests at least 1")


@dataclass(frozen=True)
class RetrievalConfig:
    """The two stages of a recommendation.

    Attributes:
        candidates: Items that the retriever hands to the reranker.
        index: auto, exact, or a faiss factory string.
    """

    candidates: int = 100
    index: str = "auto"


@dataclass(frozen=True)
class Config:
    """Everything that a training depends on."""

    data: DataConfig = field(default_factory=DataConfig)
    encoders: EncoderConfig = field(default_factory=EncoderConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    retrieval: RetrievalConfig = field(default_factory=RetrievalConfig)


def read_config(path: str | Path, overrides: Sequence[str] = ()) -> Config:
    """The configuration of a YAML file, with dotted overrides such as ``--train.epochs 3``.

    Raises:
        InputError: The file cannot be read, a key is unknown (the nearest is named), or a value is
            not of its key's type.
    """
    import yaml
    from jsonargparse import ArgumentParser

    if not Path(path).is_file():
        raise InputError(f"there is no config {path}; the presets are in configs/")
    parser = ArgumentParser(exit_on_error=False, allow_abbrev=False)
    parser.add_argument("--config", action="config")
    for name, default in _parts().items():
        parser.add_argument(f"--{name}", type=type(default), default=default)
    try:
        says_nothing = yaml.safe_load(Path(path).read_text(encoding="utf-8")) is None
        given = [] if says_nothing else ["--config", str(path)]
        values = parser.instantiate(parser.parse_args([*given, *overrides]))
    except InputError:
        raise
    except Exception as error:
        raise _explained(error, path) from error
    return Config(**{name: values[name] for name in _parts()})


def config_from_dict(values: Mapping[str, Any]) -> Config:
    """The configuration that ``dataclasses.asdict`` made a dictionary of."""
    parts = {}
    for name, default in _parts().items():
        given = {k: tuple(v) if isinstance(v, list) else v for k, v in values[name].items()}
        parts[name] = type(default)(**given)
    return Config(**parts)


def _parts() -> dict[str, Any]:
    return {part.name: getattr(Config(), part.name) for part in fields(Config)}


def _keys() -> Iterator[str]:
    for name, part in _parts().items():
        yield name
        if is_dataclass(part):
            yield from (f"{name}.{one.name}" for one in fields(part))


def _explained(error: Exception, path: str | Path) -> InputError:
    """Jsonargparse's message, with the nearest key where the key is unknown."""
    text = " ".join(str(error).split())
    for pattern in UNKNOWN_KEY:
        if found := re.search(pattern, text):
            return unknown("config key", ".".join(found.groups()), _keys())
    return InputError(f"{path}: {text}")
