"""A training that goes on where it ended, on what users have taken since.

The retriever learns on. The decoder stays as it is: it reads relations of items and nothing that
the retriever makes, so that it fits whatever retriever there is. All else follows the retriever and
is made anew: pairs of items are counted, the parts of a score weighed, new items placed, the index
built.
"""

import copy
import logging
from dataclasses import replace

import numpy as np

from p5mm.data.dataset import Dataset
from p5mm.data.interactions import Interactions
from p5mm.data.split import Part
from p5mm.errors import InputError, counted
from p5mm.metrics.validation import validation_metrics
from p5mm.ranking.trained_model import TrainedModel
from p5mm.training.calibration import beside_likeness
from p5mm.training.fitting import Fitting
from p5mm.training.task_objective import RANKING, Task, make_tasks
from p5mm.training.training_data import TrainingData, training_digest

GENTLE = 0.3  # share of the learning rate: by all of it more is forgotten than learned
NO_DIGEST = ""  # of histories that an evaluation can be of: there are none

log = logging.getLogger(__name__)


def continued(model: TrainedModel, epochs: int) -> TrainedModel:
    """A model that has learned what its users took since it was trained.

    Args:
        model: Trained; not changed.
        epochs: At most so many passes over all histories; validation keeps the best.

    Raises:
        InputError: The model has learned what another retriever would not fit, or nothing.
    """
    settings = model.config.train
    settings = replace(settings, epochs=epochs, learning_rate=GENTLE * settings.learning_rate)
    config = replace(model.config, train=settings)
    tasks = _tasks(model)
    events = model.taken
    learned = events.known(model.catalog.item_ids).core(config.data.k_core)
    data = TrainingData.of(Dataset(model.catalog, learned, events), config.data.split)
    stays = Fitting(config, copy.deepcopy(model.network), data, model.content)
    cases = data.split.cases("valid")
    before = validation_metrics(stays.scorer(()).among(data.rows), cases)["ndcg@10"]
    fitting = replace(stays, network=copy.deepcopy(model.network))
    items = fitting.network.items
    items.trained = items.trained | data.trained
    train = data.train
    log.info(
        "go on: %s, %s, %s at most",
        counted(len(train), "history", "histories"),
        counted(len(train.items), "target"),
        counted(epochs, "epoch"),
    )
    passes = fitting.retriever()
    best = max(epoch["ndcg@10"] for epoch in passes)
    log.info("retriever: validation ndcg@10 %.4f before, %.4f after", before, best)
    if best <= before:
        log.warning("the retriever stays as it was: what it has learned now ranks no better")
        fitting, passes = stays, model.fitted.log
    weights, similarities, tried, (handicap, lift) = fitting.calibrate(model.fitted.prompt, tasks)
    fitted = replace(
        model.fitted, weights=weights, similarities=similarities, tried=tried, handicap=handicap,
        lift=lift, rating_scale=data.rating_scale, levels=data.levels, items=data.items,
        trained_on=_digest(model, data), log=passes, likeness=False,
    )  # fmt: skip
    network = fitting.network.eval()
    learned_on = replace(model, log=events, network=network, counts=fitting.counts, fitted=fitted)
    return beside_likeness(
        replace(learned_on, later=Interactions.empty(), saved_index=None, added=0)
    )


def _tasks(model: TrainedModel) -> list[Task]:
    """What the decoder has learned.

    Raises:
        InputError: Some of it reads what the retriever makes, or the model has learned nothing.
    """
    told = "train it anew with p5mm train; histories follow without --epochs"
    if not model.config.train.epochs:
        raise InputError(
            f"this is a model of a shop's first day, which has learned nothing; {told}"
        )
    tasks = make_tasks(model.config, model.prompts, model.tokenizer, model.fitted.levels)
    others = sorted({task.family for task in tasks} - set(RANKING))
    if others:
        raise InputError(
            f"the decoder of this model has learned {', '.join(others)} of its retriever, and "
            f"would not fit one that learns on; {told}"
        )
    return tasks if model.fitted.task_log else []


def _digest(model: TrainedModel, data: TrainingData) -> str:
    """What an evaluation compares its log with; none where the model has seen what it would ask."""
    seen: dict[Part, int] = {part: _seen(model, data, part) for part in ("valid", "test")}
    if seen["valid"]:
        log.warning(
            "%s learned before, of users who had taken fewer than three: "
            "what validation says of the model flatters it",
            counted(seen["valid"], "validation item was", "validation items were"),
        )
    if seen["test"]:
        log.warning(
            "%s learned before: the model cannot be evaluated",
            counted(
                seen["test"],
                "item that a test would ask for was",
                "items that a test would ask for were",
            ),
        )
        return NO_DIGEST
    return training_digest(data.users, data.items, data.split.train)


def _seen(model: TrainedModel, data: TrainingData, part: Part) -> int:
    """How many of the items held out now the model has learned as their users' before."""
    size, train, cases = len(data.item_ids), model.split.train, data.split.cases(part)
    known = np.repeat(np.arange(len(train)), train.lengths) * size + model.rows[train.items]
    row_of = {user: row for row, user in enumerate(model.split_users)}
    users = np.array([row_of.get(data.users[user], -1) for user in cases.users.tolist()], np.int64)
    asked = users * size + data.rows[cases.targets]
    return int(np.isin(asked[users >= 0], known).sum())
