"""What a training leaves behind besides the weights."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Fitted:
    """What training found besides the weights of the network.

    Attributes:
        weights: Weight of each part of the reranker beside the retriever; 0 leaves a part out.
        similarities: Weight of each similarity in a reranker without the decoder.
        tried: Validation NDCG@10 of the retriever, the similarities, the decoder, and all, as
            far as there are any, each weighed on other users than it is judged by.
        handicap: What the scores of items never taken are lowered by.
        lift: What they are raised by again beyond the first page.
        rating_scale: Mean and spread of ratings in training.
        levels: Values of the rating levels; empty without ratings.
        prompt: Token ids of the prompt that the reranker reads.
        trained_on: Digest of the training histories: who took what, in which order.
        items: Ids of the items that were learned from: those that an evaluation ranks.
        log: One entry an epoch of the retriever's training.
        task_log: One entry an epoch of the decoder's training.
        likeness: Whether likeness of content ranks beside what was learned, as on a first day, and
            in the place of the weights.
    """

    weights: dict[str, float]
    similarities: dict[str, float]
    tried: dict[str, float]
    handicap: float
    lift: float
    rating_scale: tuple[float, float]
    levels: tuple[float, ...]
    prompt: tuple[int, ...]
    trained_on: str
    items: tuple[str, ...]
    log: list[dict[str, float]]
    task_log: list[dict[str, float]]
    likeness: bool = False
