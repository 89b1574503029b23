"""From a data set to a trained recommender."""

import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer

from p5mm.batches import last_batches
from p5mm.calibration import fit_handicap, fit_weights
from p5mm.checkpoint import Checkpoint
from p5mm.config import Config
from p5mm.content import Content
from p5mm.dataset import Dataset
from p5mm.encoders.store import FeatureStore
from p5mm.encoding import encode_catalog
from p5mm.errors import InputError, unknown
from p5mm.evidence import Evidence, neighbours, together
from p5mm.fitted import Fitted
from p5mm.histories import Histories
from p5mm.kin import Kin
from p5mm.model import Network
from p5mm.network import build_network, make_t5
from p5mm.objective import RetrievalObjective, Task, TaskObjective
from p5mm.prompts import Prompt, choose, read_prompts
from p5mm.rating_prior import RatingPrior
from p5mm.recommender import Recommender
from p5mm.scorer import DECODER, Scorer
from p5mm.split import Cases, LeaveOneOut
from p5mm.tokens import LEVELS, level_tokens, prompt_tokens
from p5mm.train import Training, training_key
from p5mm.validation import validation_metrics

_log = logging.getLogger(__name__)

TASK_CASES = 2_000  # validation cases that decide when the decoder is trained
TRAINED_FAMILIES = ("sequential", "direct", "rating")


def fit(
    dataset: Dataset, config: Config, store: FeatureStore | None, checkpoint: str | Path | None
) -> Recommender:
    """See ``Recommender.fit``."""
    items = sorted(set(dataset.interactions.item_ids))
    rows = np.array([dataset.catalog.rows[item] for item in items], dtype=np.int64)
    split = LeaveOneOut(dataset.interactions.histories(items)[1])
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
    rates = any(task.family == "rating" for task in tasks)
    prior = RatingPrior.of(train, len(dataset.catalog), scale, levels) if rates else None
    network = build_network(config.model, content, trained, t5, prior)
    key = training_key(config, train, split.cases("valid"), content.fingerprints, prompts)
    kept = None if checkpoint is None else Path(checkpoint)
    fitting = Fitting(config, network, train, split, rows, scale, kept, key)
    _say(train, split.cases("valid"), content, network, config)
    log = fitting.retriever()
    task_log = fitting.tasks(tasks, levels) if tasks else []
    asked = tuple(
        prompt_tokens(tokenizer, choose(prompts, "sequential")[0], config.model.soft_tokens)
    )
    similar = neighbours(together(train, len(dataset.catalog)))
    evidence = Evidence.of(fitting.kin.introduce(similar), content.tensors()[0])
    reranks = any(task.family == "sequential" for task in tasks)
    scorer = fitting.scorer(asked)
    weights, tried, handicap = fitting.calibrate(scorer, evidence, reranks)
    fitted = Fitted(
        weights, tried, handicap, scale, levels, asked, tuple(items), log, task_log
    )  # fmt: skip
    return Recommender(
        config, dataset.catalog, dataset.log, content, network, tokenizer, similar, fitted
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
        scale: Mean and spread of ratings in training.
        checkpoint: Folder in which an interrupted training goes on; None keeps nothing.
        key: What the training depends on.
    """

    config: Config
    network: Network
    train: Histories
    split: LeaveOneOut
    rows: NDArray[np.int64]
    scale: tuple[float, float]
    checkpoint: Path | None
    key: str

    @cached_property
    def kin(self) -> Kin:
        """What stands in for items that were never taken; depends on their content alone."""
        return Kin.of(self.network.items)

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
            self.network, parts, objective, self.config, self.train, validate, kept
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
            network, parts, objective, config, self.train,
            lambda network: objective.validate(network, batches), self._checkpoint("tasks"),
        ).run()  # fmt: skip

    def scorer(self, asked: Sequence[int]) -> Scorer:
        """The network as it is now, as a retriever."""
        wanted = self.config.retrieval.candidates
        length = self.config.model.max_history
        return Scorer.of(self.network, asked, length, wanted, self.scale, kin=self.kin)

    def calibrate(
        self, scorer: Scorer, evidence: Evidence, reranks: bool
    ) -> tuple[dict[str, float], dict[str, float], float]:
        """What the parts of the reranker weigh, what was tried, and the handicap of new items."""
        cases = self.split.cases("valid")
        names = [*([DECODER] if reranks else []), *evidence.names]
        among = replace(scorer, evidence=evidence, rows=self.rows)
        weights, tried = fit_weights(among, names, cases.in_rows(self.rows))
        handicap = fit_handicap(self.network, scorer.weighing(evidence, weights), self.rows, cases)
        return weights, tried, handicap

    def _checkpoint(self, name: str) -> Checkpoint | None:
        return None if self.checkpoint is None else Checkpoint(self.checkpoint / name, self.key)


def rating_scale(train: Histories) -> tuple[tuple[float, float], tuple[float, ...]]:
    """Mean and spread of the training ratings, and the levels that the rating family answers."""
    known = np.empty(0) if train.ratings is None else train.ratings[~np.isnan(train.ratings)]
    if not len(known):
        return (0.0, 1.0), ()
    values = np.unique(known)
    if len(values) > len(LEVELS):
        values = np.linspace(values[0], values[-1], len(LEVELS))
    return (float(known.mean()), float(known.std()) or 1.0), tuple(map(float, values))


def make_tasks(
    config: Config, prompts: Sequence[Prompt], tokenizer: Tokenizer, levels: Sequence[float]
) -> list[Task]:
    """The families that the config trains, in tokens; rating is left out where nobody rates.

    Raises:
        InputError: A family is unknown, or cannot be trained yet.
    """
    tasks = []
    for family, weight in config.train.tasks.items():
        if family not in TRAINED_FAMILIES:
            raise unknown("task in train.tasks", family, TRAINED_FAMILIES)
        if weight <= 0 or (family == "rating" and len(levels) < 2):
            continue
        asked = [
            prompt_tokens(tokenizer, prompt, config.model.soft_tokens)
            for prompt in choose(prompts, family)
        ]
        answers = level_tokens(tokenizer, len(levels)) if family == "rating" else ()
        tasks.append(Task(family, weight, asked, answers))
    return tasks


def _check(cases: Cases, config: Config) -> None:
    if not len(cases):
        raise InputError(
            "no user has three interactions or more, so nothing can be held out to decide when "
            f"training is done (after k_core {config.data.k_core}); give a longer log"
        )


def _say(
    train: Histories, cases: Cases, content: Content, network: Network, config: Config
) -> None:
    weights = sum(p.numel() for p in network.parameters())
    known = ", ".join(f"{name} of {int(p.sum())}" for name, p in content.present.items())
    print(
        f"train: {len(train)} histories, {len(train.items)} targets; "
        f"{int(network.items.trained.sum())} of {content.items} items seen "
        f"(content: {known or 'none'}); {weights / 1e6:.2f} M weights; about "
        f"{len(train.items) // config.train.positions + 1} steps an epoch, at most "
        f"{config.train.epochs} epochs, {len(cases)} users validate each",
        file=sys.stderr,
    )
