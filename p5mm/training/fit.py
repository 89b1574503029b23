"""From a data set to a trained model."""

import logging
from collections.abc import Sequence
from pathlib import Path

import torch

from p5mm.config import Config
from p5mm.data.dataset import Dataset
from p5mm.data.histories import Histories
from p5mm.encoders.store import FeatureStore
from p5mm.indexing.encode import encode_catalog
from p5mm.model.content import Content
from p5mm.model.prompts import choose, read_prompts
from p5mm.model.rating_prior import RatingPrior
from p5mm.model.tokenizer import prompt_tokens
from p5mm.ranking.fitted import Fitted
from p5mm.ranking.trained_model import TrainedModel
from p5mm.retrieval.tuning import factory_string
from p5mm.share import Share
from p5mm.training.beginning import Beginning
from p5mm.training.calibration import beside_likeness
from p5mm.training.fitting import Fitting, reranks
from p5mm.training.headline_objective import read_headlines
from p5mm.training.loop import training_key
from p5mm.training.ranking_cases import held_back
from p5mm.training.task_objective import RANKING, Task, make_tasks
from p5mm.training.training_data import TrainingData, training_digest

NOTHING_HELD_BACK = (
    "the retriever and the similarities rank without the T5's decoder: it learns from the last "
    "items of training histories of two or more, and none of these is among its candidates"
)

log = logging.getLogger(__name__)


def fit(
    dataset: Dataset,
    config: Config,
    store: FeatureStore | None = None,
    checkpoint: str | Path | None = None,
) -> TrainedModel:
    """Encode the catalog, train, and choose how far to believe the reranker.

    Where torchrun has started several processes, each calls this, and they train together.

    Args:
        dataset: Catalog and log.
        config: Settings.
        store: Where item vectors are kept; None keeps none.
        checkpoint: Folder in which an interrupted training goes on; None keeps nothing.

    Raises:
        InputError: Too few interactions, or settings that do not fit the data, such as an index
            of less memory than the items take.
    """
    learns, share = config.train.epochs > 0, Share.here()
    data = TrainingData.of(dataset, config.data.split, first_day=not learns)
    told = read_headlines(config, dataset.interactions, data.items, data.rows, data.split)
    beginning, config = Beginning.of(config)
    with share.one_before_others():
        features = encode_catalog(dataset.catalog, config.encoders, store)
    content = beginning.content(features, len(dataset.catalog), config.model.whiten)
    content = content.ablated(config.encoders.ablate, config.train.seed)
    prompts = read_prompts(Path(config.train.prompts) if config.train.prompts else None)
    with torch.random.fork_rng(devices=[]):  # the caller's generator stays as it is
        torch.manual_seed(config.train.seed)
        t5, tokenizer = beginning.t5(config.model, prompts, told[0].beginnings if told else ())
        tasks = make_tasks(config, prompts, tokenizer, data.levels) if learns else []
        prior = rating_prior(config, tasks, data.train, data.levels, data.rating_scale, content)
        network = beginning.network(config.model, content, data.trained, t5, prior)
        # An index that cannot be made is told now, and not once a retriever is trained.
        factory_string(config.retrieval.index, content.items, t5.config.d_model)
        made_by = content.fingerprints | {"base": beginning.digest}
        made_by |= {f"headlines {n}": part.digest for n, part in enumerate(told or ())}
        learned = data.train, held_back(data.train)[0]
        key = training_key(config, learned, data.split.cases("valid"), made_by, prompts)
        kept = None if checkpoint is None else Path(checkpoint)
        fitting = Fitting(config, network, data, content, beginning, kept, key, share)
        log.info("%s", fitting.announced())
        cases = fitting.rehearse(prompts) if reranks(tasks) else None
        if cases is not None and not len(cases):
            tasks = [task for task in tasks if task.family not in RANKING]
            log.warning("%s", NOTHING_HELD_BACK)
        epochs = fitting.retriever() if learns else []
        asked = prompt_tokens(tokenizer, choose(prompts, "sequential")[0], config.model.soft_tokens)
        task_epochs = fitting.tasks(tasks, asked, cases, tokenizer, told) if tasks else []
    weights, similarities, tried, (handicap, lift) = (
        fitting.calibrate(asked, tasks) if learns else ({}, {}, {}, (0.0, 0.0))
    )
    fitted = Fitted(
        weights, similarities, tried, handicap, lift, data.rating_scale, data.levels,
        tuple(asked), training_digest(data.users, data.items, data.split.train, told and told[0]),
        data.items, epochs, task_epochs,
    )  # fmt: skip
    model = TrainedModel(
        config, dataset.catalog, dataset.log, content, network.eval(), tokenizer, prompts,
        fitting.counts, fitted,
    )  # fmt: skip
    return beside_likeness(model) if learns else model


def rating_prior(
    config: Config,
    tasks: Sequence[Task],
    train: Histories,
    levels: Sequence[float],
    scale: tuple[float, float],
    content: Content,
) -> RatingPrior | None:
    """The prior of the rating family; None where it is not trained."""
    if not any(task.family == "rating" for task in tasks):
        return None
    return RatingPrior.of(train, content.items, scale, levels, config.rating)
