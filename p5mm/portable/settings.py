"""The numbers that an exported model answers by."""

from dataclasses import dataclass, field

from p5mm.errors import InputError
from p5mm.ranking.shortlist import Shortlist

MOST = 10**8  # of anything that is counted in items
LARGEST = 1e6  # of a number that enters a score


@dataclass(frozen=True)
class Weights:
    """What each part of a score weighs beside the retriever's logit.

    Attributes:
        decoder: The T5's own logit.
        together: Items taken together.
        content: Likeness of each modality.
    """

    decoder: float = 0.0
    together: float = 0.0
    content: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Settings:
    """Numbers that a model answers by.

    Attributes:
        max_history: Items of a history that are read.
        candidates: Items that somebody took, which are reranked.
        shortlist: How many of these and of the newcomers the decoder reads.
        newcomers: Items that nobody has taken that are reranked besides.
        soft_tokens: Of an item.
        temperature: Logits of the retriever are cosines over this.
        lift: What scores of new items are raised by beyond the first page.
        reach: Items of a history whose relations are read.
        decay: An item j places before the last weighs decay^j in a similarity.
        rating_scale: Mean and spread of ratings in training.
        weights: Of the parts of a score.
        modalities: Names of the content, in the order that relations have.
        int8: Whether vectors are bytes with a scale each.
    """

    max_history: int
    candidates: int
    shortlist: Shortlist
    newcomers: int
    soft_tokens: int
    temperature: float
    lift: float
    reach: int
    decay: float
    rating_scale: tuple[float, float]
    weights: Weights
    modalities: tuple[str, ...]
    int8: bool

    def __post_init__(self) -> None:
        counts = (self.max_history, self.candidates, self.soft_tokens, self.reach)
        others = (self.newcomers, self.shortlist.taken, self.shortlist.new)
        if not all(1 <= n <= MOST for n in counts) or not all(0 <= n <= MOST for n in others):
            raise InputError("a number of items or tokens is out of its range")
        parts = (self.weights.decoder, self.weights.together, *self.weights.content.values())
        if max(map(abs, (*parts, self.lift, *self.rating_scale))) > LARGEST:
            raise InputError(f"a weight, the lift or a rating is beyond {LARGEST:g}")
        if not (self.temperature > 0 and 0 < self.decay <= 1 and self.rating_scale[1] > 0):
            raise InputError("temperature, decay or the spread of ratings is out of its range")
        if not set(self.weights.content) <= set(self.modalities):
            raise InputError("content is weighed that is not there")
