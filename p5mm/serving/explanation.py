"""Why an item fits a user: what of its score is lost without each item of the history."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from p5mm.data.histories import Histories
from p5mm.model.relation_reader import AFTER, LEARNED, RATING, SLIM, TOGETHER
from p5mm.ranking.scorer import DECODER, Scorer
from p5mm.ranking.trained_model import TrainedModel

RETRIEVER = "retriever"
BATCH = 64
SPOKEN = {
    TOGETHER: "often taken together",
    AFTER: "often taken soon after it",
    SLIM: "tells of it beside its other neighbours",
    LEARNED: "alike in what was learned of them",
    RATING: "how it was rated",
}
LEAST = 0.1  # of the largest: what carries less of the score is not put into words
MOST = 2  # relations in words


@dataclass(frozen=True)
class Reason:
    """What one item of the history does for the score.

    Attributes:
        item_id: Of the history.
        carries: What the score loses when the item is left out; below 0 it speaks against.
        parts: The same for each part of the score.
        relations: What the decoder's part of the score loses without each relation of the pair.
        attention: Share of the decoder's attention.
    """

    item_id: str
    carries: float
    parts: Mapping[str, float]
    relations: Mapping[str, float]
    attention: float

    @property
    def words(self) -> str:
        """The relations that carry most, in words; empty where none carries anything."""
        most = max(self.relations.values(), default=0.0)
        ordered = sorted(self.relations.items(), key=lambda pair: -pair[1])
        told = [name for name, value in ordered if value > 0 and value >= LEAST * most]
        return ", ".join(SPOKEN.get(name, f"alike in {name}") for name in told[:MOST])


@dataclass(frozen=True)
class Explanation:
    """Why an item gets its score.

    Attributes:
        user_id: Who asks.
        item_id: What is asked for.
        score: As ``Recommender.score`` gives it.
        parts: What it is the sum of: the retriever, the decoder and similarities, as weighed.
        reasons: The items of the history that were read, what carries most first.
    """

    user_id: str
    item_id: str
    score: float
    parts: Mapping[str, float]
    reasons: Sequence[Reason]


def explain(model: TrainedModel, user_id: str, history: Histories, item: int) -> Explanation:
    """Leave each item of a history out, and see what is lost of an item's score.

    Nothing is guessed: every number is a difference of two real scores. They need not add up, as
    two items of a history may say the same.

    Args:
        model: Trained.
        user_id: A name for who asks.
        history: One history in catalog rows; what the network does not read of it is not asked.
        item: Catalog row of the item.
    """
    scorer, ids = model.scorer, model.catalog.item_ids
    read = history.tail(np.minimum(history.lengths, scorer.asking.max_history))
    whole, *others = _parts(scorer, Histories.joined([read, *without_each(read)]), item)
    relations, attention = _decoder(scorer, read, item)
    reasons = []
    for place, (row, parts) in enumerate(zip(read[0].tolist(), others, strict=True)):
        lost = {name: value - parts[name] for name, value in whole.items()}
        back = len(others) - 1 - place
        about = (relations[back], attention[back]) if back < len(relations) else ({}, 0.0)
        reasons.append(Reason(ids[row], sum(lost.values()), lost, *about))
    reasons.sort(key=lambda reason: -reason.carries)
    return Explanation(user_id, ids[item], sum(whole.values()), whole, reasons)


def without_each(history: Histories) -> list[Histories]:
    """A history without each of its items in turn."""
    places = np.arange(len(history.items))
    return [
        Histories(
            history.items[places != place],
            np.array([0, len(places) - 1]),
            None if history.ratings is None else history.ratings[places != place],
        )
        for place in places
    ]


def _parts(scorer: Scorer, histories: Histories, item: int) -> list[dict[str, float]]:
    """What the item's score is the sum of, for each history."""
    told: list[dict[str, float]] = []
    for rows in np.array_split(np.arange(len(histories)), -(-len(histories) // BATCH)):
        part = histories.select(rows)
        encoded, candidates = scorer.encode(part), torch.full((len(part), 1), item)
        columns = {RETRIEVER: scorer.retrieval(encoded, candidates)} | {
            name: weight * scorer.part(name, encoded, part, candidates)
            for name, weight in scorer.weights.items()
        }
        lists = {name: column.flatten().tolist() for name, column in columns.items()}
        told += [
            dict(zip(lists, values, strict=True)) for values in zip(*lists.values(), strict=True)
        ]
    return told


@torch.inference_mode()
def _decoder(
    scorer: Scorer, history: Histories, item: int
) -> tuple[list[dict[str, float]], list[float]]:
    """What the decoder's part loses without each relation, and its attention.

    Both a place of the history, the last item first; empty where the decoder is not weighed.
    """
    weight = scorer.weights.get(DECODER, 0.0)
    if scorer.relations is None or not weight or not len(history.items):
        return [], []
    encoded, names = scorer.encode(history), scorer.relations.names
    facts, relations, lengths = scorer.read(encoded, history, torch.tensor([[item]]))
    network, prompt = scorer.network, scorer.asking.prompt
    attention = network.attention(prompt, facts, relations, lengths)[0, 0].tolist()
    places, columns = relations.shape[2:]
    hidden = relations.repeat(places * columns, 1, 1, 1)
    each = torch.arange(places * columns)
    hidden[each, 0, each // columns, each % columns] = 0
    asked = torch.cat([relations, hidden])
    many = len(asked)
    logits = network.rerank(
        prompt, facts.expand(many, -1, -1), asked, lengths.expand(many)
    ).flatten()
    lost = weight * (logits[0] - logits[1:]).view(places, columns)
    return [dict(zip(names, row, strict=True)) for row in lost.tolist()], attention
