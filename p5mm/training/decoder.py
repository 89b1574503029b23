"""One retriever, another decoder: what training with other tasks is worth."""

from collections.abc import Mapping
from dataclasses import replace

import torch

from p5mm.model.build import build_network, make_t5
from p5mm.model.prompts import choose
from p5mm.model.tokenizer import prompt_tokens
from p5mm.ranking.trained_model import TrainedModel
from p5mm.training.fit import rating_prior
from p5mm.training.fitting import Fitting, reranks
from p5mm.training.headline_objective import read_headlines
from p5mm.training.task_objective import make_tasks
from p5mm.training.training_data import TrainingData, training_digest


def with_tasks(base: TrainedModel, tasks: Mapping[str, float]) -> TrainedModel:
    """What training with these tasks would have given, without training the retriever again.

    The retriever gets no gradient from the tasks, so that of ``base`` is taken as it is; the
    decoder is trained anew from the same start, and the weights of the reranker are fitted anew.

    Args:
        base: Trained, with whatever tasks.
        tasks: Family to the weight of its loss.

    Raises:
        InputError: A family cannot be trained.
    """
    config = replace(base.config, train=replace(base.config.train, tasks=dict(tasks)))
    torch.manual_seed(config.train.seed)
    data = TrainingData.of_split(
        base.split_users, base.fitted.items, base.rows, base.catalog.item_ids, base.split
    )
    told = read_headlines(config, base.core, data.items, data.rows, data.split)
    t5, tokenizer = make_t5(config.model, base.prompts, told[0].beginnings if told else ())
    t5.encoder.load_state_dict(base.network.t5.encoder.state_dict())
    fitted = base.fitted
    made = make_tasks(config, base.prompts, tokenizer, fitted.levels)
    prior = rating_prior(config, made, data.train, fitted.levels, fitted.rating_scale, base.content)
    network = build_network(config.model, base.content, data.trained, t5, prior)
    network.items.load_state_dict(base.network.items.state_dict())
    network.history.load_state_dict(base.network.history.state_dict())
    fitting = Fitting(config, network, data, base.content)
    cases = fitting.rehearse(base.prompts) if reranks(made) else None
    asked = prompt_tokens(
        tokenizer, choose(base.prompts, "sequential")[0], config.model.soft_tokens
    )
    log = fitting.tasks(made, asked, cases, tokenizer, told) if made else []
    weights, similarities, tried, (handicap, lift) = fitting.calibrate(asked, made)
    refitted = replace(
        fitted, weights=weights, similarities=similarities, tried=tried, handicap=handicap,
        lift=lift, task_log=log, prompt=tuple(asked),
        trained_on=training_digest(data.users, data.items, data.split.train, told and told[0]),
    )  # fmt: skip
    return replace(base, config=config, network=network, tokenizer=tokenizer, fitted=refitted)
