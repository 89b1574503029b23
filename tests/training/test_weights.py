"""Weights of a score's parts: found together, and judged on users that they were not fitted on."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from p5mm.metrics.validation import validation_metrics
from p5mm.ranking.scorer import DECODER
from p5mm.training.calibration import Parts, Search, fit_newcomers, fit_weights


def test_useless_parts_get_no_weight(toy):
    cases = toy.split.cases("valid").in_rows(toy.rows)
    scorer = toy.scorer.alone().within(toy.rows)
    weights, similarities, tried = fit_weights(scorer, [DECODER], cases)
    assert set(weights) == {DECODER, *scorer.similarity.names}
    assert set(tried) == {"retriever", "similarities", "decoder", "all"}
    assert weights["decoder"] == similarities["decoder"] == 0.0  # of random opinions


def test_what_is_not_there_is_not_said_to_have_been_tried(toy):
    cases = toy.split.cases("valid").in_rows(toy.rows)
    scorer = toy.scorer.alone().within(toy.rows)
    weights, similarities, tried = fit_weights(scorer, [], cases)
    assert set(tried) == {"retriever", "similarities"}
    assert set(weights) == set(similarities) == set(scorer.similarity.names)
    bare = replace(scorer, similarity=None)
    weights, similarities, tried = fit_weights(bare, [], cases)
    assert (weights, similarities, set(tried)) == ({}, {}, {"retriever"})
    _, similarities, tried = fit_weights(bare, [DECODER], cases)
    assert (similarities, set(tried)) == ({DECODER: 0.0}, {"retriever", "decoder"})


def parts_of(**columns):
    """Cases of two candidates, of which the first is right; each part's lead of it."""
    lead = {name: torch.tensor(values)[:, None] for name, values in columns.items()}
    parts = {name: torch.cat([v, torch.zeros_like(v)], dim=1) for name, v in lead.items()}
    retrieval = parts.pop("retrieval")
    taken = torch.zeros(retrieval.shape, dtype=torch.bool)
    return Parts(retrieval, parts, taken, torch.zeros(len(retrieval), dtype=torch.int64))


def test_parts_that_gain_only_together_are_found():
    """Each part alone turns as many cases to the worse as to the better."""
    n = 30
    parts = parts_of(
        retrieval=[-1.0] * n + [0.1] * 2 * n,
        neighbours=[0.3] * n + [-0.4] * n + [0.4] * n,
        **{"content.text": [0.6] * n + [0.8] * n + [-0.8] * n},
    )
    search = Search(parts, ("neighbours", "content.text"))
    nothing = search.ndcg((0.0, 0.0)).mean()
    for name in search.names:
        assert search.ndcg(search.best(slice(None), [name])).mean() <= nothing
    both = search.best(slice(None), search.names)
    assert all(both)
    assert search.ndcg(both).mean() == 1.0 > nothing
    folds = np.arange(3 * n) % 5
    np.testing.assert_array_equal(search.cross_fitted(folds, search.names), 1.0)


def test_weights_are_judged_on_users_that_they_were_not_fitted_on():
    """A part that is right for one fold alone."""
    parts = parts_of(retrieval=[0.1] * 10, neighbours=[5.0, 5.0] + [-5.0] * 8)
    parts = replace(parts, retrieval=-parts.retrieval)
    search = Search(parts, ("neighbours",))
    folds = np.array([0, 0, 1, 1, 2, 2, 3, 3, 4, 4])
    found = search.cross_fitted(folds, ["neighbours"])
    assert found.mean() < search.ndcg(search.best(slice(None), ["neighbours"])).mean()


@pytest.mark.parametrize("candidates", [12, 1000])
def test_ndcg_of_the_parts_is_that_of_the_ranking(toy, candidates):
    cases = toy.split.cases("valid")
    weights = {"decoder": 0.7, "neighbours": 2.0}
    asking = replace(toy.scorer.asking, candidates=candidates, newcomers=1)
    scorer = replace(toy.scorer, weights=weights, asking=asking)
    among = scorer.within(toy.rows)
    found = Parts.of(among, list(weights), cases.in_rows(toy.rows)).ndcg(weights).mean()
    ranked = validation_metrics(scorer.among(toy.rows), cases)["ndcg@10"]
    assert found == pytest.approx(ranked, abs=1e-6)


@pytest.mark.parametrize(("better", "weighed"), [(51, False), (70, True)])
def test_a_gain_that_may_be_chance_is_not_weighed(toy, monkeypatch, better, weighed):
    """100 cases move up or down by as much; more than one standard error must go up."""
    count = len(Parts.of(toy.scorer, [], toy.split.cases("valid").in_rows(toy.rows)).targets)
    moved = np.where(np.arange(count) * 100 < better * count, 0.6, 0.4)

    def ndcg(self, weights):
        return moved if weights.get("neighbours") else np.full(count, 0.5)

    monkeypatch.setattr(Parts, "ndcg", ndcg)
    cases = toy.split.cases("valid").in_rows(toy.rows)
    weights, _, _ = fit_weights(toy.scorer.alone().within(toy.rows), [], cases)
    assert bool(weights["neighbours"]) == weighed


@pytest.mark.parametrize(
    ("decoder", "others", "weighed"),
    [
        (45, 50, {DECODER}),  # it loses, and may have lost by chance
        (45, 65, {"neighbours"}),  # what surely gains over it takes its place
        (20, 21, set()),  # it surely loses against nothing
        (55, 58, {DECODER}),
    ],
)
def test_a_decoder_ranks_unless_something_is_surely_better(
    toy, monkeypatch, decoder, others, weighed
):
    """Shares of 100 cases that each moves up; its other cases move down by as much."""
    count = len(Parts.of(toy.scorer, [], toy.split.cases("valid").in_rows(toy.rows)).targets)
    places = {up: np.random.default_rng(up).permutation(count) * 100 for up in (decoder, others)}

    def moved(up):
        return np.where(places[up] < up * count, 0.6, 0.4)

    def ndcg(self, weights):
        if weights.get(DECODER):
            return moved(decoder)
        return moved(others) if weights.get("neighbours") else np.full(count, 0.5)

    def best(self, cases, among):
        return tuple(
            float(name in among and name in (DECODER, "neighbours")) for name in self.names
        )

    monkeypatch.setattr(Parts, "ndcg", ndcg)
    monkeypatch.setattr(Search, "best", best)
    cases = toy.split.cases("valid").in_rows(toy.rows)
    weights, _, _ = fit_weights(toy.scorer.alone().within(toy.rows), [DECODER], cases)
    assert {name for name, weight in weights.items() if weight} == weighed


def test_where_nothing_is_found_nothing_is_weighed_or_lifted(toy, monkeypatch):
    monkeypatch.setattr(Parts, "ndcg", lambda self, *_, **__: np.zeros(len(self.targets)))
    cases = toy.split.cases("valid").in_rows(toy.rows)
    weights, _, _ = fit_weights(toy.scorer.alone().within(toy.rows), [DECODER], cases)
    assert not any(weights.values())
    assert fit_newcomers(toy.scorer, cases) == (0.0, 0.0)
