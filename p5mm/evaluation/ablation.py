"""What a trained model owes to each modality: the same weights on ablated content."""

import copy
from collections.abc import Mapping
from dataclasses import replace

from p5mm.config import Ablation
from p5mm.evaluation.report import MAIN
from p5mm.metrics.ranker import Ranker
from p5mm.model.content import SHUFFLED, ZERO, Content
from p5mm.model.network import Network
from p5mm.ranking.trained_model import TrainedModel

WAYS: tuple[Ablation, ...] = (ZERO, SHUFFLED)


def ablated(model: TrainedModel, ablate: Mapping[str, Ablation], seed: int = 0) -> TrainedModel:
    """A model with the same weights that sees ablated content; nothing is trained.

    Args:
        model: Shares its weights; not changed.
        ablate: Modality to real, zero or shuffled, as in ``Content.ablated``.
        seed: Seed of the shuffling.

    Raises:
        InputError: There is no such modality, or no such way to ablate it.
    """
    content = model.content.ablated(ablate, seed)
    encoders = model.config.encoders
    encoders = replace(encoders, ablate=encoders.ablate | dict(ablate))
    return replace(
        model,
        config=replace(model.config, encoders=encoders),
        content=content,
        network=_twin(model.network, content),
        saved_index=None,
    )


def ablated_rankers(model: TrainedModel, seed: int = 0, seen: bool = False) -> dict[str, Ranker]:
    """``p5mm, MODALITY zero`` and ``p5mm, MODALITY shuffled`` for each modality that items have."""
    return {
        f"{MAIN}, {name} {how}": ablated(model, {name: how}, seed).scorer.among(model.rows, seen)
        for name, present in model.content.present.items()
        if present.any()
        for how in WAYS
        if how != ZERO or _knows_more(model, name)
    }


def _knows_more(model: TrainedModel, name: str) -> bool:
    """Whether anything is known of items without a modality."""
    others = [there for other, there in model.content.present.items() if other != name]
    return bool(model.network.items.trained.any()) or any(there.any() for there in others)


def _twin(network: Network, content: Content) -> Network:
    """The network with other content; it shares every weight."""
    shared = {id(tensor): tensor for tensor in (*network.parameters(), *network.buffers())}
    twin = copy.deepcopy(network, shared)
    twin.items.hold(*content.tensors())
    return twin
