"""From a data set to a trained model."""

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from p5mm.config import Config
from p5mm.data.dataset import Dataset
from p5mm.data.histories import Histories
from p5mm.data.split import Cases, LeaveOneOut
from p5mm.encoders.store import FeatureStore
from p5mm.errors import InputError
from p5mm.indexing.encode import encode_catalog
from p5mm.metrics.validation import validation_metrics
from p5mm.model.batches import last_batches
from p5mm.model.build import build_network, make_t5
from p5mm.model.content import Content
from p5mm.model.network import Network
from p5mm.model.prompts import choose, read_prompts
from p5mm.model.rating_prior import RatingPrior
from p5mm.model.tokenizer import prompt_tokens
from p5mm.ranking.cold_items import ColdItems
from p5mm.ranking.fitted import Fitted
from p5mm.ranking.scorer import DECODER, Scorer
from p5mm.ranking.similarity import ItemSimilarity, cooccurrence, cosine_neighbours
from p5mm.ranking.trained_model import TrainedModel, asking
from p5mm.training.calibration import fit_handicap, fit_weights
from p5mm.training.checkpoint import Checkpoint
from p5mm.training.loop import Training, training_key
from p5mm.training.retrieval_objective import RetrievalObjective
from p5mm.training.task_objective import Task, TaskObjective
from p5mm.training.tasks import make_tasks, rating_scale

TASK_CASES = 2_000  # validation cases that decide when the decoder is trained

log = logging.getLogger(__name__)


def fit(
    dataset: Dataset,
    config: Config,
    store: FeatureStore | None = None,
    checkpoint: str | Path | None = None,
) -> TrainedModel:
    """Encode the catalog, train, and choose how far to believe the reranker.

    Args:
        dataset: Catalog and log.
        config: Settings.
        store: Where item vectors are kept; None keeps none.
        checkpoint: Folder in which an interrupted training goes on; None keeps nothing.

    Raises:
        InputError: Too few interactions, or settings that do not fit the data.
    """
    items = sorted(set(dataset.interactions.item_ids))
    rows = np.array([dataset.catalog.rows[item] for item in items], dtype=np.int64)
    users, histories = dataset.interactions.histories(items)
    split = LeaveOneOut(histories)
    _check(split.cases("valid"), config)
    features = encode_catalog(dataset.catalog, config.encoders, store)
    content = Content.of(features, len(dataset.catalog), config.model.whiten)
    content = content.ablated(config.encoders.ablate, config.train.seed)
    torch.manual_seed(config.train.seed)
    prompts = read_prompts(Path(config.train.prompts) if config.train.prompts else None)
    t5, tokenizer = make_t5(config.model, prompts)
    train = replace(split.train, items=rows[split.train.items])
    trained = torch.zeros(len(dataset.catalog), dtype=torch.bool)
    trained[torch.from_numpy(train.items)] = True
    scale, levels = rating_scale(train)
    tasks = make_tasks(config, prompts, tokenizer, levels)
    prior = rating_prior(config, tasks, train, len(dataset.catalog), scale, levels)
    network = build_network(config.model, content, trained, t5, prior)
    key = training_key(config, train, split.cases("valid"), content.fingerprints, prompts)
    kept = None if checkpoint is None else Path(checkpoint)
    fitting = Fitting(
        config, network, train, split, rows, dataset.catalog.item_ids, scale, kept, key
    )
    log.info("%s", _announced(train, split.cases("valid"), content, network, config))
    epochs = fitting.retriever()
    task_epochs = fitting.tasks(tasks, levels) if tasks else []
    asked = tuple(
        prompt_tokens(tokenizer, choose(prompts, "sequential")[0], config.model.soft_tokens)
    )
    counts = cooccurrence(train, len(dataset.catalog))
    neighbours = cosine_neighbours(counts, config.similarity.neighbours)
    reranks = any(task.family == "sequential" for task in tasks)
    weights, tried, handicap = fitting.calibrate(
        asked, fitting.similarity(neighbours, content), reranks
    )
    digest = training_digest(users, items, split.train)
    fitted = Fitted(
        weights, tried, handicap, scale, levels, asked, digest, tuple(items), epochs, task_epochs
    )  # fmt: skip
    return TrainedModel(
        config,
        dataset.catalog,
        dataset.log,
        content,
        network,
        tokenizer,
        prompts,
        neighbours,
        fitted,
    )


@dataclass(frozen=True)
class Fitting:
    """The steps of a training, one after the other.

    Attributes:
        config: Settings.
        network: Trained in place.
        train: Training histories in catalog rows.
        split: The log's split, in numbers of ``rows``.
        rows: Catalog rows of the items that are learned from.
        item_ids: Of the whole catalog.
        scale: Mean and spread of ratings in training.
        checkpoint: Folder in which an interrupted training goes on; None keeps nothing.
        key: What the training depends on.
    """

    config: Config
    network: Network
    train: Histories
    split: LeaveOneOut
    rows: NDArray[np.int64]
    item_ids: Sequence[str]
    scale: tuple[float, float]
    checkpoint: Path | None
    key: str

    @cached_property
    def cold_items(self) -> ColdItems:
        """What stands in for items that were never taken; depends on their content alone."""
        return ColdItems.of(self.network.items, self.config.cold)

    def retriever(self) -> list[dict[str, float]]:
        """Train items and encoder by validation NDCG@10; returns the log of the epochs."""
        cases = self.split.cases("valid")

        def validate(network: Network) -> dict[str, float]:
            metrics = validation_metrics(self.scorer(()).among(self.rows), cases)
            return {"score": metrics["ndcg@10"], **metrics}

        parts = [self.network.items, self.network.history, self.network.t5.encoder]
        objective = RetrievalObjective(self.config.train.negatives, self.scale)
        kept = self._checkpoint("retriever")
        return Training(
            "retriever", self.network, parts, objective, self.config, self.train, validate, kept
        ).run()

    def tasks(self, tasks: Sequence[Task], levels: Sequence[float]) -> list[dict[str, float]]:
        """Train the decoder on the retriever's states by validation loss; returns the log."""
        settings = self.config.train
        objective = TaskObjective.of(
            self.network,
            tasks,
            settings.rank_requests,
            settings.rank_candidates,
            levels,
            self.scale,
        )
        until_valid = self.split.log.without_last(1)
        users = self.split.cases("valid").users
        users = users[np.unique(np.linspace(0, len(users) - 1, TASK_CASES).astype(np.int64))]
        held_out = until_valid.select(users)
        held_out = replace(held_out, items=self.rows[held_out.items])
        batches = list(
            last_batches(held_out, self.config.model.max_history, settings.rank_requests)
        )
        network = self.network
        parts = [network.t5.shared, network.t5.decoder, network.rank_head]
        if not network.t5.config.tie_word_embeddings:
            parts.append(network.t5.lm_head)
        if network.rating_prior is not None:
            parts.append(network.rating_prior)
        epochs = min(settings.epochs, settings.task_epochs)
        config = replace(self.config, train=replace(settings, epochs=epochs))
        return Training(
            "decoder", network, parts, objective, config, self.train,
            lambda network: objective.validate(network, batches), self._checkpoint("tasks"),
        ).run()  # fmt: skip

    def scorer(self, asked: Sequence[int]) -> Scorer:
        """The network as it is now, as a retriever."""
        how = asking(self.config, asked, self.scale)
        return Scorer.of(self.network, how, self.cold_items, self.item_ids)

    def similarity(self, neighbours: object, content: Content) -> ItemSimilarity:
        """What the reranker may weigh beside the decoder."""
        kept = self.config.similarity
        whole = self.cold_items.introduce(neighbours, kept.neighbours)
        return ItemSimilarity.of(whole, content.tensors()[0], kept.decay)

    def calibrate(
        self, asked: Sequence[int], similarity: ItemSimilarity, reranks: bool
    ) -> tuple[dict[str, float], dict[str, float], float]:
        """What the parts of the reranker weigh, what was tried, and the handicap of new items."""
        scorer = self.scorer(asked)
        cases = self.split.cases("valid")
        names = [*([DECODER] if reranks else []), *similarity.names]
        among = replace(scorer.within(self.rows), similarity=similarity)
        weights, tried = fit_weights(among, names, cases.in_rows(self.rows))
        handicap = fit_handicap(scorer.weighing(similarity, weights), self.rows, cases)
        return weights, tried, handicap

    def _checkpoint(self, name: str) -> Checkpoint | None:
        return None if self.checkpoint is None else Checkpoint(self.checkpoint / name, self.key)


def rating_prior(
    config: Config,
    tasks: Sequence[Task],
    train: Histories,
    n_items: int,
    scale: tuple[float, float],
    levels: Sequence[float],
) -> RatingPrior | None:
    """The prior of the rating family; None where it is not trained."""
    if not any(task.family == "rating" for task in tasks):
        return None
    return RatingPrior.of(train, n_items, scale, levels, config.rating)


def training_digest(users: Sequence[str], items: Sequence[str], train: Histories) -> str:
    """A digest of who took what in training, in which order and with which ratings.

    Args:
        users: Ids of the users, a history each.
        items: Ids of the items that the histories count in.
        train: Training histories.
    """
    digest = hashlib.blake2b(digest_size=16)
    for ids in (users, items):
        for one_id in ids:
            digest.update(one_id.encode() + b"\0")
        digest.update(b"\1")
    digest.update(train.items.tobytes() + train.offsets.tobytes())
    digest.update(b"" if train.ratings is None else train.ratings.tobytes())
    return digest.hexdigest()


def _check(cases: Cases, config: Config) -> None:
    if not len(cases):
        raise InputError(
            "no user has three interactions or more, so nothing can be held out to decide when "
            f"training is done (after k_core {config.data.k_core}); give a longer log"
        )


def _announced(
    train: Histories, cases: Cases, content: Content, network: Network, config: Config
) -> str:
    weights = sum(p.numel() for p in network.parameters())
    known = ", ".join(f"{name} of {int(p.sum())}" for name, p in content.present.items())
    return (
        f"train: {len(train)} histories, {len(train.items)} targets; "
        f"{int(network.items.trained.sum())} of {content.items} items seen "
        f"(content: {known or 'none'}); {weights / 1e6:.2f} M weights; about "
        f"{len(train.items) // config.train.positions + 1} steps an epoch, at most "
        f"{config.train.epochs} epochs, {len(cases)} users validate each"
    )
