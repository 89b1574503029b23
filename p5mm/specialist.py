"""One retriever, several decoders: what training with these tasks or those is worth."""

from collections.abc import Mapping
from dataclasses import replace

import torch

from p5mm.errors import InputError
from p5mm.evidence import Evidence
from p5mm.fitting import Fitting, make_tasks
from p5mm.network import build_network, make_t5
from p5mm.prompts import read_prompts
from p5mm.rating_prior import RatingPrior
from p5mm.recommender import Recommender


def with_tasks(base: Recommender, tasks: Mapping[str, float]) -> Recommender:
    """What training with these tasks would have given, at the cost of the decoder alone.

    The retriever is trained before the tasks and gets no gradient from them, so that of ``base``
    is taken as it is; the decoder is trained anew from the same start, and the weights of the
    reranker are fitted anew.

    Args:
        base: Trained, with whatever tasks.
        tasks: Family to the weight of its loss.

    Raises:
        InputError: A family cannot be trained, or ``base`` was trained with prompts of its own,
            which a saved model does not keep.
    """
    config = replace(base.config, train=replace(base.config.train, tasks=dict(tasks)))
    torch.manual_seed(config.train.seed)
    prompts = read_prompts()
    t5, tokenizer = make_t5(config.model, prompts)
    if tokenizer.to_str() != base.tokenizer.to_str():
        raise InputError(
            "the model was trained with a prompt file of its own (train.prompts); only models with "
            "p5mm's own prompts can be compared with specialists"
        )
    t5.encoder.load_state_dict(base.network.t5.encoder.state_dict())
    split, fitted = base.split, base.fitted
    histories = replace(split.train, items=base.rows[split.train.items])
    made = make_tasks(config, prompts, tokenizer, fitted.levels)
    rates = any(task.family == "rating" for task in made)
    scale = fitted.rating_scale
    prior = RatingPrior.of(histories, len(base.catalog), scale, fitted.levels) if rates else None
    trained = base.network.items.trained.clone()
    network = build_network(config.model, base.content, trained, t5, prior)
    network.items.load_state_dict(base.network.items.state_dict())
    network.history.load_state_dict(base.network.history.state_dict())
    fitting = Fitting(
        config, network, histories, split, base.rows, scale, None, ""
    )  # fmt: skip
    log = fitting.tasks(made, fitted.levels) if made else []
    evidence = Evidence.of(fitting.kin.introduce(base.similar), base.content.tensors()[0])
    weights, tried, handicap = fitting.calibrate(
        fitting.scorer(fitted.prompt), evidence, any(t.family == "sequential" for t in made)
    )
    found = replace(fitted, weights=weights, tried=tried, handicap=handicap, task_log=log)
    return Recommender(
        config, base.catalog, base.log, base.content, network, tokenizer, base.similar, found
    )
