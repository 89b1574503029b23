"""From several data sets to a base: the next item at every prefix, by content alone."""

import hashlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer

from p5mm.config import Config
from p5mm.data.dataset import Dataset
from p5mm.encoders.store import FeatureStore
from p5mm.errors import InputError, counted, unknown
from p5mm.indexing.encode import NONE, encode_catalog
from p5mm.metrics.validation import validation_metrics
from p5mm.model.base import Base, Learned, shared_weights
from p5mm.model.batches import Passes
from p5mm.model.build import build_network, make_t5, without_path
from p5mm.model.content import REAL, Content
from p5mm.model.network import Network
from p5mm.model.prompts import ABOUT_REVIEWS, Prompt, read_prompts
from p5mm.model.t5 import T5
from p5mm.model.tokenizer import PAD, beginning, tokens_of
from p5mm.pretraining.base_objective import BaseObjective
from p5mm.pretraining.domains import (
    ContentRanker,
    Domain,
    DomainObjective,
    Mixture,
    joined,
    joined_features,
)
from p5mm.pretraining.reading import HEADLINE, STARS, Reading, word_prompts
from p5mm.pretraining.reading import READ as REVIEW_READ
from p5mm.pretraining.review_table import ReviewTable
from p5mm.pretraining.reviews import Reviews
from p5mm.pretraining.self_supervised import MASKED, MATCHING, SPANS, Spans
from p5mm.pretraining.titles import LENGTH, TITLE, Titles, is_held_out
from p5mm.ranking.writing import WRITTEN
from p5mm.training.checkpoint import Checkpoint
from p5mm.training.loop import Training, training_key

TASKS = (TITLE, MASKED, MATCHING, SPANS, *ABOUT_REVIEWS)
WORDS = (TITLE, *ABOUT_REVIEWS)  # what a T5 that has learned them can be asked to write
TEXT = "text"
READ = 64  # tokens of an item's text that are read

log = logging.getLogger(__name__)


def pretrain(
    datasets: Mapping[str, Dataset],
    config: Config,
    store: FeatureStore | None = None,
    checkpoint: str | Path | None = None,
    reviews: ReviewTable | None = None,
) -> Base:
    """Train one network on several catalogs and logs, in which items are their content alone.

    Args:
        datasets: Name to catalog and log.
        config: Settings.
        store: Where item vectors are kept; None keeps none.
        checkpoint: Folder in which an interrupted training goes on; None keeps nothing.
        reviews: Whose headlines and stars the T5 learns to write; of ten or more the last two
            tenths in order of time are kept from it.

    Raises:
        InputError: Too few interactions, no content, or settings that do not fit the data.
    """
    weights = _weights(config, datasets, reviews)
    if not config.train.epochs:
        raise InputError("train.epochs is 0; a base learns for an epoch or more")
    if config.train.adapt != "all":
        raise InputError(f"train.adapt is {config.train.adapt}; all of a base learns: leave it out")
    domains = joined(datasets, config.data.split)
    content = _content(datasets, config, store).ablated(config.encoders.ablate, config.train.seed)
    prompts = read_prompts(Path(config.train.prompts) if config.train.prompts else None)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.train.seed)
        texts = [*_texts(datasets, reviews)]
        t5, tokenizer = make_t5(config.model, (*prompts, *word_prompts()), texts)
        titles = Titles.of([of.catalog for of in datasets.values()], tokenizer)
        network = build_network(config.model, content, _trained(domains, content.items), t5)
        torch.nn.init.zeros_(network.items.residual.weight)  # nobody has an id here
        starts = tuple(of.start for of in domains)
        objective = BaseObjective(
            DomainObjective(config.train.negatives, starts=starts),
            titles,
            _spans(config, datasets, titles, tokenizer),
            {name: of for name, of in weights.items() if name not in ABOUT_REVIEWS},
            *_reviews(reviews, t5, tokenizer, weights),
        )
        key = _key(domains, objective, config, content, tokenizer, (*prompts, *word_prompts()))
        at = None if checkpoint is None else Checkpoint(Path(checkpoint) / "base", key)
        training = _training(network, domains, objective, config, at)
        log.info("%s", _announced(domains, network, training))
        epochs = training.run()
    best = max(epochs, key=lambda epoch: epoch["score"])
    learned = tuple(
        Learned(of.name, len(of.data.item_ids), len(of.data.users), best[f"ndcg@10 {of.name}"])
        for of in domains
    )
    kept = replace(config.model, base=None, t5=without_path(config.model.t5))
    return Base(
        kept, network.t5.eval(), tokenizer, content.dims, content.fingerprints,
        shared_weights(network), learned, tuple(of for of in WORDS if of in weights),
        _levels(reviews, weights),
    )  # fmt: skip


def _content(
    datasets: Mapping[str, Dataset], config: Config, store: FeatureStore | None
) -> Content:
    """The items of all catalogs, each standardised by itself, as a shop's will be.

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
    whole = Content.of(joined_features(parts, sizes), sum(sizes), False)
    own = [Content.of(part, n, whiten, upright=True) for part, n in zip(parts, sizes, strict=True)]
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
    objective: BaseObjective,
    config: Config,
    checkpoint: Checkpoint | None,
) -> Training:
    settings, length = config.train, config.model.max_history

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
        score = told["ndcg@10"] + objective.likely(words)
        return {"score": score, **told, **named, **words}

    parts = [network.history, network.t5.encoder]
    if network.items.fusion is not None:
        parts.append(network.items.fusion)
    elif MATCHING in objective.weights:
        parts.append(network.t5.shared)
    passes = [Passes(of.train, length, settings.positions, settings.seed) for of in domains]
    if objective.writes:
        parts += [network.t5.shared, network.t5.decoder]
        parts += [] if network.t5.config.tie_word_embeddings else [network.t5.lm_head]
    mixture = Mixture(passes, settings.seed)
    return Training("base", network, parts, objective, settings, mixture, validate, checkpoint)


def _weights(
    config: Config, datasets: Mapping[str, Dataset], reviews: ReviewTable | None
) -> dict[str, float]:
    """What is learned in this pretraining beside ranking, and how much it counts.

    Raises:
        InputError: Another task is asked for, or nothing is asked of the reviews that are given.
    """
    for task in config.train.tasks:
        if task not in TASKS:
            raise unknown("task in train.tasks of a pretraining", task, TASKS)
    known = {MASKED, MATCHING}
    ablated = config.encoders.ablate.get(TEXT, REAL) != REAL
    if not ablated and any(any(of.catalog.own_titles) for of in datasets.values()):
        known |= {TITLE}
    if _reads_texts(config) and any(TEXT in of.catalog.fields for of in datasets.values()):
        known |= {SPANS}
    if reviews is not None:
        train = reviews.part("train")
        known |= {HEADLINE} if any(train.headlines) else set()
        known |= {STARS} if not np.isnan(train.ratings).all() else set()
    weights = {name: of for name, of in config.train.tasks.items() if of and name in known}
    if reviews is not None and not {HEADLINE, STARS} & set(weights):
        raise InputError(
            "reviews are given, and nothing is learned of them: give them a headline or a rating, "
            "and ask for it by train.tasks, as in --train.tasks "
            f"'{{{TITLE}: 1.0, {HEADLINE}: 0.5, {STARS}: 0.5}}'"
        )
    _levels(reviews, weights)  # what is wrong with them is told before anything is encoded
    return weights


def _levels(reviews: ReviewTable | None, weights: Mapping[str, float]) -> tuple[float, ...]:
    """The ratings that may be said.

    Raises:
        InputError: There are more than can be named.
    """
    return reviews.levels if reviews is not None and STARS in weights else ()


def _reviews(
    table: ReviewTable | None, t5: T5, tokenizer: Tokenizer, weights: Mapping[str, float]
) -> tuple[Reviews | None, Reviews | None]:
    """Reviews to learn from, and those for validation."""
    if table is None:
        return None, None
    reading = Reading(t5, tokenizer, _levels(table, weights))
    asked = {name: of for name, of in weights.items() if name in ABOUT_REVIEWS}
    train, valid = (Reviews.of(table.part(part), reading, asked) for part in ("train", "valid"))
    return train, valid if len(valid) else None


def _reads_texts(config: Config) -> bool:
    """Whether a base may see the texts of items."""
    return config.encoders.text != NONE and config.encoders.ablate.get(TEXT, REAL) == REAL


def _spans(
    config: Config, datasets: Mapping[str, Dataset], titles: Titles, tokenizer: Tokenizer
) -> Spans:
    """The texts of all catalogs, but for items whose titles are held out."""
    texts: list[str | None] = []
    for catalog in (dataset.catalog for dataset in datasets.values()):
        reads = _reads_texts(config) and TEXT in catalog.fields
        texts += catalog.raw(TEXT) if reads else [None] * len(catalog)
    words = tokens_of(tokenizer, texts, READ)
    return Spans.of(words.masked_fill(titles.held_out[:, None], PAD), tokenizer)


def _texts(datasets: Mapping[str, Dataset], reviews: ReviewTable | None) -> Iterator[str]:
    """As much of the titles and reviews as is learned, for the tokenizer."""
    if reviews is not None:
        train = reviews.part("train")
        yield from (beginning(text, REVIEW_READ) for text in train.texts)
        yield from (beginning(headline, WRITTEN) for headline in train.headlines if headline)
    for dataset in datasets.values():
        for item, title in zip(dataset.catalog.item_ids, dataset.catalog.own_titles, strict=True):
            if title is not None and not is_held_out(item):
                yield beginning(title, LENGTH)


def _key(
    domains: Sequence[Domain],
    objective: BaseObjective,
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
    digest.update(repr(sorted(objective.weights.items())).encode())
    titles, reviews = objective.titles, [r for r in (objective.reviews, objective.valid) if r]
    digest.update(repr([r.reading.levels for r in reviews]).encode())
    words = [titles.words, titles.held_out, objective.spans.words]
    words += [of for r in reviews for of in (r.words, r.headlines, r.stars)]
    for array in (*(of.numpy() for of in words), *content.vectors.values()):
        digest.update(array.tobytes())
    return digest.hexdigest()


def _announced(domains: Sequence[Domain], network: Network, training: Training) -> str:
    told = ", ".join(
        f"{of.name} ({counted(len(of.data.item_ids), 'item')}, "
        f"{counted(len(of.data.users), 'user')})"
        for of in domains
    )
    weights = sum(parameter.numel() for parameter in training.parameters)
    return (
        f"pretrain on {told}; by {', '.join(network.items.modalities)}, no ids; "
        f"{weights / 1e6:.2f} M weights; {training.batches.steps:.0f} steps an epoch, at most "
        f"{counted(training.settings.epochs, 'epoch')}"
    )
