"""From a data set to a trained recommender."""

import logging
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer

from p5mm.calibration import fit_blend, fit_handicap
from p5mm.checkpoint import Checkpoint
from p5mm.config import Config
from p5mm.content import Content
from p5mm.dataset import Dataset
from p5mm.encoders.store import FeatureStore
from p5mm.encoding import encode_catalog
from p5mm.errors import InputError, unknown
from p5mm.fitted import Fitted
from p5mm.histories import Histories
from p5mm.model import Network
from p5mm.network import build_network, make_t5
from p5mm.objective import Objective, Task
from p5mm.prompts import Prompt, choose, read_prompts
from p5mm.recommender import Recommender
from p5mm.scorer import Scorer
from p5mm.split import Cases, LeaveOneOut
from p5mm.tokens import LEVELS, level_tokens, prompt_tokens
from p5mm.train import Training, training_key
from p5mm.validation import validation_metrics

_log = logging.getLogger(__name__)

TRAINED_FAMILIES = ("sequential", "direct", "rating")


def fit(
    dataset: Dataset, config: Config, store: FeatureStore | None, checkpoint: str | Path | None
) -> Recommender:
    """See ``Recommender.fit``."""
    items = sorted(set(dataset.interactions.item_ids))
    rows = np.array([dataset.catalog.rows[item] for item in items], dtype=np.int64)
    split = LeaveOneOut(dataset.interactions.histories(items)[1])
    cases = split.cases("valid")
    _check(cases, config)
    features = encode_catalog(dataset.catalog, config.encoders, store)
    content = Content.of(features, len(dataset.catalog), config.model.whiten)
    torch.manual_seed(config.train.seed)
    prompts = read_prompts(Path(config.train.prompts) if config.train.prompts else None)
    t5, tokenizer = make_t5(config.model, prompts)
    train = Histories(rows[split.train.items], split.train.offsets, split.train.ratings)
    trained = torch.zeros(len(dataset.catalog), dtype=torch.bool)
    trained[torch.from_numpy(train.items)] = True
    network = build_network(config.model, content, trained, t5)
    scale, levels = rating_scale(train)
    tasks = make_tasks(config, prompts, tokenizer, levels)
    settings = config.train
    objective = Objective(
        tasks, settings.negatives, settings.rank_requests, settings.rank_candidates, levels, scale
    )
    ask = prompt_tokens(tokenizer, choose(prompts, "sequential")[0], config.model.soft_tokens)

    def scorer(network: Network, blend: float = 0.0) -> Scorer:
        wanted = config.retrieval.candidates
        return Scorer.of(network, ask, config.model.max_history, wanted, blend, scale)

    def validate(network: Network) -> dict[str, float]:
        return validation_metrics(scorer(network).among(rows), cases)

    _say(train, cases, content, network, config)
    key = training_key(config, train, content.fingerprints, prompts)
    kept = None if checkpoint is None else Checkpoint(Path(checkpoint), key)
    log = Training(network, objective, config, train, validate, kept).run()
    blend, blends = 0.0, dict[float, float]()
    if any(task.family == "sequential" for task in tasks):
        blend, blends = fit_blend(scorer(network).among(rows), cases)
    handicap = fit_handicap(network, scorer(network), rows, cases)
    fitted = Fitted(blend, blends, handicap, scale, levels, tuple(ask), tuple(items), log)
    return Recommender(config, dataset.catalog, dataset.log, content, network, tokenizer, fitted)


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
