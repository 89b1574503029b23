"""What a training leaves behind besides the weights."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Fitted:
    """What training found besides the weights.

    Attributes:
        blend: Weight of the reranker beside the retriever.
        blends: Validation NDCG@10 of each weight tried.
        handicap: What the scores of items never taken are lowered by.
        rating_scale: Mean and spread of ratings in training.
        levels: Values of the rating levels; empty without ratings.
        prompt: Token ids of the prompt that the reranker reads.
        items: Ids of the items that were learned from: those that an evaluation ranks.
        log: One entry an epoch.
    """

    blend: float
    blends: dict[float, float]
    handicap: float
    rating_scale: tuple[float, float]
    levels: tuple[float, ...]
    prompt: tuple[int, ...]
    items: tuple[str, ...]
    log: list[dict[str, float]]
