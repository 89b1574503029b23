"""The configuration: frozen dataclasses that a YAML mirrors one to one."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, get_args

from p5mm.errors import InputError, unknown

Ablation = Literal["real", "zero", "shuffled"]
Way = Literal["leave-one-out", "time"]


@dataclass(frozen=True)
class DataConfig:
    """Where the data is and how it is read.

    Attributes:
        root: Folder of the data; the other paths may be below it.
        reader: Form of the data; "auto" tells it by the files that are there.
        catalog: File of the catalog, or a folder of pictures; looked for by name where not given.
        interactions: File of the log; looked for by name where not given.
        images: Folder of the pictures; where not given, posters/, images/ or pictures/ of the
            data's folder, and for an index the catalog's own.
        text: Catalog columns that make an item's text; all columns of strings where not given.
        k_core: Keep users and items with at least this many interactions each; 0 keeps all.
        shuffle_ties: Seed of a random order of what a user took at one time; the order of the
            file where None.
        split: leave-one-out holds out each user's last two items; time holds out whatever was
            taken from a time on, and needs a log with times.
    """

    root: str | None = None
    reader: Literal["auto", "movielens", "sequences", "p5", "tables"] = "auto"
    catalog: str | None = None
    interactions: str | None = None
    images: str | None = None
    text: tuple[str, ...] | None = None
    k_core: int = 0
    shuffle_ties: int | None = None
    split: Way = "leave-one-out"


@dataclass(frozen=True)
class EncoderConfig:
    """Which encoders make the item vectors.

    Attributes:
        image: Spec of the image encoder; none to leave pictures out.
        text: Spec of the text encoder; none to leave texts out.
        others: Specs of further encoders, such as vector:COLUMN or module:Class.
        workers: Threads that decode pictures; -1 chooses by the machine.
        load_seconds: What takes longer to load is quarantined, and the work goes on.
        ablate: Modality to what training and serving see of it: real, zero (every item lacks it)
            or shuffled (each item has the vector of another). ``--encoders.ablate.image zero``.
    """

    image: str = "embedded"
    text: str = "embedded"
    others: tuple[str, ...] = ()
    workers: int = -1
    load_seconds: float = 60.0
    ablate: dict[str, Ablation] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 0 < self.load_seconds <= 1e6:
            raise InputError(
                f"encoders.load_seconds is {self.load_seconds}; it must be above 0, and at most "
                "1000000 (eleven days)"
            )
        for name, how in self.ablate.items():
            if how not in get_args(Ablation):
                raise unknown(f"value of encoders.ablate.{name}", how, get_args(Ablation))


@dataclass(frozen=True)
class ModelConfig:
    """The T5 and its soft prompts.

    Attributes:
        t5: nano (from scratch), a folder in Hugging Face's T5 layout, or a hub name.
        base: Folder of ``p5mm pretrain`` that T5 and fusion are taken from; its sizes hold.
        d_model: Width of nano; heads and feed-forward follow.
        layers: Encoder blocks of nano.
        decoder_layers: Decoder blocks of nano.
        dropout: Dropout everywhere in the T5.
        fusion: How modalities are mixed: attention, concat, gate, or module:Class.
        soft_tokens: Soft tokens an item.
        id_dropout: Probability that a step hides an item's id, so that content alone must work.
        whiten: Whether content vectors are whitened.
        max_history: Items of a history that are read.
        temperature: The retriever's logits are cosines over this.
        relations: Last items of a history that the decoder relates each candidate to.
    """

    t5: str = "nano"
    base: str | None = None
    d_model: int = 128
    layers: int = 2
    decoder_layers: int = 1
    dropout: float = 0.2
    fusion: str = "gate"
    soft_tokens: int = 1
    id_dropout: float = 0.1
    whiten: bool = True
    max_history: int = 200
    temperature: float = 0.0625
    relations: int = 20

    def __post_init__(self) -> None:
        if not 0 <= self.dropout < 1 or not 0 <= self.id_dropout < 1:
            raise InputError("model.dropout and model.id_dropout must be at least 0 and below 1")
        counted = ("d_model", "layers", "decoder_layers", "soft_tokens", "max_history", "relations")
        if min(getattr(self, key) for key in counted) < 1:
            raise InputError(f"model.{', model.'.join(counted)} must be at least 1")
        if self.temperature <= 0:
            raise InputError(f"model.temperature is {self.temperature}; it must be above 0")


@dataclass(frozen=True)
class TrainConfig:
    """How the model is trained.

    Attributes:
        epochs: At most so many passes over all prefixes; with 0 nothing is learned: a first day.
        patience: Passes without a gain in validation that matters, .2 %, before the training of a
            retriever or a base stops.
        positions: History positions in a batch.
        learning_rate: Peak rate of AdamW.
        weight_decay: Decay of the weight matrices.
        warmup: Steps of linear warm-up.
        negatives: Negatives shared by a batch; a catalog of up to 4 times as many, or 0, takes
            the softmax over the whole catalog.
        tasks: Families of prompts that the decoder learns, after the retriever, and how often each
            is drawn beside the others; empty leaves the decoder untrained.
        task_epochs: Passes of the decoder's training on the tasks, but no more than ``epochs``.
        adapt: How much of the encoder of a base, or of a loaded T5, learns: all of it; with lora
            low-rank additions to its matrices; with frozen nothing but what is before it.
        prompts: File of prompts; p5mm's own (p5mm/model/prompts.txt) where not
            given.
        rank_requests: Requests of a task in a step.
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
    task_epochs: int = 16
    adapt: Literal["all", "lora", "frozen"] = "all"
    prompts: str | None = None
    rank_requests: int = 64
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        least = {
            "epochs": 0, "task_epochs": 1, "patience": 1, "positions": 1, "warmup": 1,
            "rank_requests": 1, "negatives": 0, "seed": 0, "weight_decay": 0,
        }  # fmt: skip
        for key, lowest in least.items():
            if not getattr(self, key) >= lowest:
                raise InputError(
                    f"train.{key} is {getattr(self, key)}; it must be at least {lowest}"
                )
        if not 0 < self.learning_rate < math.inf:
            raise InputError(f"train.learning_rate is {self.learning_rate}; give a number above 0")
        for family, weight in self.tasks.items():
            if not 0 <= weight < math.inf:
                raise InputError(f"train.tasks.{family} is {weight}; give a weight of 0 or more")


@dataclass(frozen=True)
class RetrievalConfig:
    """The two stages of a recommendation.

    Attributes:
        candidates: Items that somebody took, which the retriever hands to the reranker.
        shortlist: The retriever's best of these, which the decoder reads; the others count as the
            least likely that it has read.
        index: auto, exact, ivf, hnsw, ivf-fp16, ivf-sq8, the memory that it may take (2GB), or a
            faiss factory string of Flat or SQ vectors, with IVF or HNSW in front (of PQ vectors
            too) and RFlat or Refine behind. Items that nobody took are in an exact one besides.
        generate: Whether the T5 generates the candidates as codes, without any index; training
            then learns the task codes, too.
        code_levels: Digits of an item's code; one more tells items of the same code apart.
        code_size: Values of a digit, at most.
    """

    candidates: int = 100
    shortlist: int = 100
    index: str = "auto"
    generate: bool = False
    code_levels: int = 4
    code_size: int = 1024

    def __post_init__(self) -> None:
        if self.candidates < 1:
            raise InputError(f"retrieval.candidates is {self.candidates}; give 1 or more")
        if self.shortlist < 1:
            raise InputError(f"retrieval.shortlist is {self.shortlist}; give 1 or more")
        if not 1 <= self.code_levels <= 8 or not 1 <= self.code_size <= 65_536:
            raise InputError(
                f"retrieval.code_levels is {self.code_levels} and retrieval.code_size "
                f"{self.code_size}; give 1 to 8 levels of 1 to 65,536 values"
            )


@dataclass(frozen=True)
class SimilarityConfig:
    """How alike the items of a history and a candidate are, for the reranker.

    Attributes:
        decay: An item j places before the last of a history weighs decay^j.
        neighbours: Most similar items that are kept of each item.
    """

    decay: float = 0.5
    neighbours: int = 300

    def __post_init__(self) -> None:
        if not 0 < self.decay <= 1 or self.neighbours < 1:
            raise InputError(
                "similarity.decay must be above 0 and at most 1, similarity.neighbours at least 1"
            )


@dataclass(frozen=True)
class ColdConfig:
    """What stands in for items that nobody has taken.

    Attributes:
        neighbours: Taken items, nearest by content, that a new item is made of.
        sharpness: A neighbour of cosine c counts in proportion to exp(sharpness * c).
        ridge: Penalty, a modality, of the regression from content to trained tokens.
        candidates: New items that are reranked beside the others, as far as there are any; codes
            that are generated give them no places of their own.
        shortlist: The best of these, which the decoder reads.
    """

    neighbours: int = 50
    sharpness: float = 8.0
    ridge: float = 1.0
    candidates: int = 50
    shortlist: int = 50

    def __post_init__(self) -> None:
        if self.neighbours < 1 or self.ridge <= 0:
            raise InputError("cold.neighbours must be at least 1 and cold.ridge above 0")
        for name in ("candidates", "shortlist"):
            if getattr(self, name) < 0:
                raise InputError(f"cold.{name} is {getattr(self, name)}; give 0 or more")


@dataclass(frozen=True)
class RatingConfig:
    """What a rating is likely to be before the T5 reads.

    Attributes:
        decay: A rating j places back weighs decay^j in the user's leaning.
        item_shrink: Ratings at the mean that are added to an item's own.
        user_shrink: Ratings at the mean that are added to a user's own.
        spread: What is left of the ratings' spread where the learning of the levels starts.
    """

    decay: float = 0.9
    item_shrink: float = 5.0
    user_shrink: float = 1.25
    spread: float = 0.85

    def __post_init__(self) -> None:
        if not 0 < self.decay <= 1 or min(self.item_shrink, self.user_shrink, self.spread) <= 0:
            raise InputError(
                "rating.decay must be above 0 and at most 1, rating.item_shrink, "
                "rating.user_shrink and rating.spread above 0"
            )


@dataclass(frozen=True)
class Config:
    """Everything that a training depends on, and everything that a saved model answers by."""

    data: DataConfig = field(default_factory=DataConfig)
    encoders: EncoderConfig = field(default_factory=EncoderConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    retrieval: RetrievalConfig = field(default_factory=RetrievalConfig)
    similarity: SimilarityConfig = field(default_factory=SimilarityConfig)
    cold: ColdConfig = field(default_factory=ColdConfig)
    rating: RatingConfig = field(default_factory=RatingConfig)


def sections() -> dict[str, Any]:
    """The name of each part of a configuration, and the part with its defaults."""
    whole = Config()
    return {section.name: getattr(whole, section.name) for section in fields(Config)}


def config_from_dict(values: Mapping[str, Any]) -> Config:
    """The configuration that ``dataclasses.asdict`` made a dictionary of.

    Every key must be there: a saved model never falls back to a default that may have changed.

    Raises:
        InputError: A section or a key is missing, or there is one that is not known.
    """
    made = {}
    for name, default in sections().items():
        given, keys = values.get(name), [key.name for key in fields(default)]
        if not isinstance(given, Mapping) or set(given) != set(keys):
            raise InputError(f"the section '{name}' of a saved configuration needs {keys}")
        kept = {key: tuple(v) if isinstance(v, list) else v for key, v in given.items()}
        made[name] = type(default)(**kept)
    return Config(**made)
