"""From several data sets to a base: the next item at every prefix, by content alone."""

import hashlib
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from p5mm.config import Config
from p5mm.data.dataset import Dataset
from p5mm.encoders.store import FeatureStore
from p5mm.errors import InputError, unknown
from p5mm.indexing.encode import encode_catalog
from p5mm.metrics.validation import validation_metrics
from p5mm.model.base import Base, Learned, shared_weights
from p5mm.model.batches import Batch, Passes
from p5mm.model.build import build_network, make_t5
from p5mm.model.content import Content
from p5mm.model.network import Network
from p5mm.model.prompts import read_prompts
from p5mm.model.tokenizer import PAD
from p5mm.pretraining.domains import (
    ContentRanker,
    Domain,
    DomainObjective,
    Mixture,
    joined,
    joined_features,
)
from p5mm.pretraining.titles import VOCABULARY, Titles, is_held_out
from p5mm.pretraining.titles import titles as all_titles
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
        return {"title loss": float(self.titles.loss(network, rows[:MEASURED]))}


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
    domains = joined(datasets)
    content = _content(datasets, config, store)
    prompts = read_prompts(Path(config.train.prompts) if config.train.prompts else None)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.train.seed)
        t5, tokenizer = make_t5(config.model, prompts, _texts(datasets), VOCABULARY)
        titles = Titles.of([of.catalog for of in datasets.values()], tokenizer)
        network = build_network(config.model, content, _trained(domains, content.items), t5)
        torch.nn.init.zeros_(network.items.residual.weight)  # nobody has an id here
        training = _training(network, domains, titles, config, content, checkpoint)
        log.info("%s", _announced(domains, network, training))
        epochs = training.run()
    best = max(epochs, key=lambda epoch: epoch["score"])
    learned = tuple(
        Learned(of.name, len(of.data.item_ids), len(of.data.users), best[f"ndcg@10 {of.name}"])
        for of in domains
    )
    return Base(
        config.model, network.t5.eval(), tokenizer, content.maps, content.fingerprints,
        shared_weights(network), learned,
    )  # fmt: skip


def _content(
    datasets: Mapping[str, Dataset], config: Config, store: FeatureStore | None
) -> Content:
    catalogs = [dataset.catalog for dataset in datasets.values()]
    parts = [encode_catalog(catalog, config.encoders, store) for catalog in catalogs]
    for name, features in zip(datasets, parts, strict=True):
        if not any(encoded.present.any() for encoded in features):
            raise InputError(
                f"{name} has neither pictures nor texts nor vectors; a base knows items by these "
                "alone: leave this catalog out, or give it some"
            )
    sizes = [len(catalog) for catalog in catalogs]
    return Content.of(joined_features(parts, sizes), sum(sizes), config.model.whiten)


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
    content: Content,
    checkpoint: str | Path | None,
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
    kept = None
    if checkpoint is not None:
        kept = Checkpoint(Path(checkpoint) / "base", _key(domains, config, content))
    mixture = Mixture(passes, settings.seed)
    return Training("base", network, parts, objective, settings, mixture, validate, kept)


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
        for item, title in zip(dataset.catalog.item_ids, all_titles(dataset.catalog), strict=True):
            if title is not None and not is_held_out(item):
                yield title


def _key(domains: Sequence[Domain], config: Config, content: Content) -> str:
    """What must agree for a pretraining to be resumed."""
    digest = hashlib.blake2b(digest_size=16)
    for of in domains:
        key = training_key(config, [of.train], of.valid, content.fingerprints, ())
        digest.update(f"{of.name} {of.start} {key}".encode())
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
