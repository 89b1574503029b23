"""Whether a model's evaluation can be believed: what leaks is refused, the rest is a warning."""

from collections.abc import Mapping, Sequence
from typing import Any

from p5mm.data.split import Cases
from p5mm.evaluation.linter.finding import Finding, require_no_leaks
from p5mm.evaluation.linter.leakage import (
    learned_held_out_items,
    learned_held_out_pairs,
    learned_held_out_ratings,
    numbering_findings,
    trained_on_other_histories,
)
from p5mm.evaluation.linter.numbering import id_numbers
from p5mm.evaluation.linter.ties import tie_findings
from p5mm.evidence.counts import PAIRS
from p5mm.metrics.ranker import Ranker
from p5mm.ranking.trained_model import TrainedModel
from p5mm.training.headline_objective import read_headlines
from p5mm.training.training_data import training_digest


def model_findings(model: TrainedModel) -> list[Finding]:
    """What is wrong with a model's log, its items' ids and what it has learned.

    Raises:
        LeakageError: Something that it is asked for can be seen by it.
    """
    split, rows, fitted = model.split, model.rows, model.fitted
    told = read_headlines(model.config, model.core, fitted.items, rows, split)
    learned = told and told[0]
    digest = training_digest(model.split_users, fitted.items, split.train, learned)
    findings = trained_on_other_histories(fitted.trained_on, digest)
    findings += numbering_findings(split, id_numbers(fitted.items))
    findings += learned_held_out_items(split, model.network.items.trained.numpy()[rows])
    for name in PAIRS:
        pairs = getattr(model.counts, name)
        findings += learned_held_out_pairs(split, pairs[rows][:, rows])
    if model.network.rating_prior is not None:
        counts = model.network.rating_prior.counts.numpy()[rows]
        findings += learned_held_out_ratings(split, counts)
    require_no_leaks(findings)
    return findings


def ranker_findings(rankers: Mapping[str, Ranker], cases: Cases, seed: int) -> list[Finding]:
    """Rankers whose metrics hang on the order of equal scores."""
    return [
        finding
        for name, ranker in rankers.items()
        for finding in tie_findings(name, ranker, cases, seed)
    ]


def leakage_protocol(model: TrainedModel, findings: Sequence[Finding]) -> dict[str, Any]:
    """What the protocol of a report says of leaks and of equal times; plain JSON values."""
    seed = model.config.data.shuffle_ties
    protocol: dict[str, Any] = {
        "leakage": [str(finding) for finding in findings] or "none found",
        "equal times": "in the order of the log" if seed is None else f"shuffled, seed {seed}",
    }
    if model.config.data.split == "leave-one-out":
        protocol["last two at one time"] = model.core.tied_ends(model.fitted.items)
    return protocol
