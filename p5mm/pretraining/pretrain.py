"""From several data sets to a base: the next item at every prefix, by content alone."""

import hashlib
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer

from p5mm.config import Config
from p5mm.data.dataset import Dataset
from p5mm.encoders.store import FeatureStore
from p5mm.errors import InputError, unknown
from p5mm.indexing.encode import encode_catalog
from p5mm.metrics.validation import validation_metrics
from p5mm.model.base import Base, Learned, shared_weights
from p5mm.model.batches import Batch, Passes
from p5mm.model.build import build_network, make_t5, without_path
from p5mm.model.content import Content
from p5mm.model.network import Network
from p5mm.model.prompts import Prompt, read_prompts
from p5mm.model.tokenizer import PAD
from p5mm.pretraining.domains import (
    ContentRanker,
    Domain,
    DomainObjective,
    Mixture,
    joined,
    joined_features,
)
from p5mm.pretraining.titles import TOGETHER, VOCABULARY, Titles, is_held_out
from p5mm.training.checkpoint import Checkpoint
from p5mm.training.loop import Training, training_key
from p5mm.training.retrieval_objective import Losses

TITLE = "title"
MEASURED = 1_000  # held-out titles whose loss is told

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class BaseObjective:
    """What a step of a pretraining minimises: the next item, and the titles of its items.

    Attributes:
        ranking: The next item at every prefix.
        titles: Of all catalogs.
        weight: Of the titles' loss; 0 leaves the decoder untrained.
    """

    ranking: DomainObjective
    titles: Titles
    weight: float

    def __call__(self, network: Network, batch: Batch) -> Losses:
        """The loss of a batch, and that of the ranking as a number."""
        loss, told = self.ranking(network, batch)
        rows = self.titles.some(batch.targets[batch.targets >= 0])
        if self.weight and len(rows):
            loss = loss + self.weight * self.titles.loss(network, rows)
        return loss, told

    @torch.no_grad()
    def held_out(self, network: Network) -> dict[str, float]:
        """The loss of titles that are never learned."""
        rows = torch.nonzero(self.titles.held_out & (self.titles.words[:, 0] != PAD)).flatten()
        if not self.weight or not len(rows):
            return {}
        places = torch.linspace(0, len(rows) - 1, min(MEASURED, len(rows))).long()
        parts = [*rows[places].split(TOGETHER)]  # type: ignore[no-untyped-call]
        losses = [float(self.titles.loss(network, part)) * len(part) for part in parts]
        return {"title loss": sum(losses) / len(places)}


def pretrain(
    datasets: Mapping[str, Dataset],
    config: Config,
    store: FeatureStore | None = None,
    checkpoint: str | Path | None = None,
) -> Base:
    """Train one network on several catalogs and logs, in which items are their content alone.

    Args:
        datasets: Name to catalog and log.
        config: Settings.
        store: Where item vectors are kept; None keeps none.
        checkpoint: Folder in which an interrupted training goes on; None keeps nothing.

    Raises:
        InputError: Too few interactions, no content, or settings that do not fit the data.
    """
    if not config.train.epochs:
        raise InputError("train.epochs is 0; a base learns for an epoch or more")
    domains = joined(datasets, config.data.split)
    content = _content(datasets, config, store).ablated(config.encoders.ablate, config.train.seed)
    prompts = read_prompts(Path(config.train.prompts) if config.train.prompts else None)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.train.seed)
        t5, tokenizer = make_t5(config.model, prompts, _texts(datasets), VOCABULARY)
        titles = Titles.of([of.catalog for of in datasets.values()], tokenizer)
        network = build_network(config.model, content, _trained(domains, content.items), t5)
        torch.nn.init.zeros_(network.items.residual.weight)  # nobody has an id here
        key = _key(domains, titles, config, content, tokenizer, prompts)
        at = None if checkpoint is None else Checkpoint(Path(checkpoint) / "base", key)
        training = _training(network, domains, titles, config, at)
        log.info("%s", _announced(domains, network, training))
        epochs = training.run()
    best = max(epochs, key=lambda epoch: epoch["score"])
    learned = tuple(
        Learned(of.name, len(of.data.item_ids), len(of.data.users), best[f"ndcg@10 {of.name}"])
        for of in domains
    )
    kept = replace(config.model, base=None, t5=without_path(config.model.t5))
    return Base(
        kept, network.t5.eval(), tokenizer, content.maps, content.fingerprints,
        shared_weights(network), learned,
    )  # fmt: skip


def _content(
    datasets: Mapping[str, Dataset], config: Config, store: FeatureStore | None
) -> Content:
    """The items of all catalogs, each standardised among those of its own, as a shop's will be.

    The maps are those of all together, for shops with too few items.

    Raises:
        InputError: A catalog has no content.
    """
    catalogs = [dataset.catalog for dataset in datasets.values()]
    parts = [encode_catalog(catalog, config.encoders, store) for catalog in catalogs]
    for name, features in zip(datasets, parts, strict=True):
        if not any(encoded.present.any() for encoded in features):
            raise InputError(
                f"{name} has neither pictures nor texts nor vectors; a base knows items by these "
                "alone: leave this catalog out, or give it some"
            )
    sizes, whiten = [len(catalog) for catalog in catalogs], config.model.whiten
    whole = Content.of(joined_features(parts, sizes), sum(sizes), whiten, {})
    own = [Content.of(part, n, whiten, whole.maps) for part, n in zip(parts, sizes, strict=True)]
    vectors = {
        name: np.concatenate([of.vectors.get(name, np.zeros((of.items, dim))) for of in own])
        for name, dim in whole.dims.items()
    }
    return replace(whole, vectors={name: of.astype(np.float32) for name, of in vectors.items()})


def _trained(domains: Sequence[Domain], items: int) -> torch.Tensor:
    """``[items]`` bool, True where a training history holds an item: what negatives are."""
    trained = torch.zeros(items, dtype=torch.bool)
    for domain in domains:
        trained[torch.from_numpy(domain.train.items)] = True
    return trained


def _training(
    network: Network,
    domains: Sequence[Domain],
    titles: Titles,
    config: Config,
    checkpoint: Checkpoint | None,
) -> Training:
    settings, length = config.train, config.model.max_history
    objective = BaseObjective(
        DomainObjective(settings.negatives, starts=tuple(of.start for of in domains)),
        titles,
        _title_weight(config),
    )

    def validate(network: Network) -> dict[str, float]:
        found = {
            of.name: validation_metrics(ContentRanker(network, of, length), of.valid)
            for of in domains
        }
        told = {
            metric: sum(of[metric] for of in found.values()) / len(found)
            for metric in ("recall@10", "ndcg@10")
        }
        named = {f"ndcg@10 {name}": of["ndcg@10"] for name, of in found.items()}
        words = objective.held_out(network)
        # How likely a word of a title is, on average: as the other, better the nearer to 1.
        likely = sum(math.exp(-loss) for loss in words.values())
        score = told["ndcg@10"] + objective.weight * likely
        return {"score": score, **told, **named, **words}

    parts = [network.history, network.t5.encoder]
    if network.items.fusion is not None:
        parts.append(network.items.fusion)
    passes = [Passes(of.train, length, settings.positions, settings.seed) for of in domains]
    if objective.weight:
        parts += [network.t5.shared, network.t5.decoder]
        parts += [] if network.t5.config.tie_word_embeddings else [network.t5.lm_head]
    mixture = Mixture(passes, settings.seed)
    return Training("base", network, parts, objective, settings, mixture, validate, checkpoint)


def _title_weight(config: Config) -> float:
    """How much writing titles counts beside ranking.

    Raises:
        InputError: Another task is asked for.
    """
    for task in config.train.tasks:
        if task != TITLE:
            raise unknown("task in train.tasks of a pretraining", task, [TITLE])
    return config.train.tasks.get(TITLE, 0.0)


def _texts(datasets: Mapping[str, Dataset]) -> Iterator[str]:
    """The titles that are learned, for the tokenizer."""
    for dataset in datasets.values():
        for item, title in zip(dataset.catalog.item_ids, dataset.catalog.own_titles, strict=True):
            if title is not None and not is_held_out(item):
                yield title


def _key(
    domains: Sequence[Domain],
    titles: Titles,
    config: Config,
    content: Content,
    tokenizer: Tokenizer,
    prompts: Sequence[Prompt],
) -> str:
    """What must agree for a pretraining to be resumed."""
    digest = hashlib.blake2b(tokenizer.to_str().encode(), digest_size=16)
    for of in domains:
        key = training_key(config, [of.train], of.valid, content.fingerprints, prompts)
        digest.update(f"{of.name} {of.start} {key}".encode())
    for array in (titles.words.numpy(), titles.held_out.numpy(), *content.vectors.values()):
        digest.update(array.tobytes())
    return digest.hexdigest()


def _announced(domains: Sequence[Domain], network: Network, training: Training) -> str:
    told = ", ".join(
        f"{of.name} ({len(of.data.item_ids):,} items, {len(of.data.users):,} users)"
        for of in domains
    )
    weights = sum(parameter.numel() for parameter in training.parameters)
    return (
        f"pretrain on {told}; by {', '.join(network.items.modalities)}, no ids; "
        f"{weights / 1e6:.2f} M weights; {training.batches.steps:.0f} steps an epoch, at most "
        f"{training.settings.epochs} epochs"
    )
