"""Two stages on the toy shop: what the reranker sees, and where the rest stands."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from p5mm.data.histories import Histories
from p5mm.evidence.cold_items import ColdItems
from p5mm.metrics.validation import validation_metrics
from p5mm.ranking.places import PAGE
from p5mm.ranking.scorer import Scorer
from p5mm.retrieval import index
from p5mm.retrieval.tuning import import_faiss
from p5mm.training.calibration import (
    ALLOWED_LOSS,
    FAR,
    HANDICAPS,
    Parts,
    fit_newcomers,
)

ASKED = Histories.from_lists([[3, 4, 5], [], [21, 22]])


def reranking(scorer, candidates, newcomers=1):
    asking = replace(scorer.asking, candidates=candidates, newcomers=newcomers)
    return replace(scorer, asking=asking)


@pytest.fixture(scope="module")
def scorer(toy):
    return reranking(toy.scorer, 6)


def logits_of(scorer):
    """The retriever's logits of the whole catalog."""
    logits = scorer.encode(ASKED).last @ scorer.vectors.T / scorer.network.temperature
    return (logits + scorer.bias).numpy()


def test_scores_are_the_retriever_plus_the_weighed_reranker(scorer):
    encoded = scorer.encode(ASKED)
    candidates = torch.tensor([[1, 2, 9], [0, 7, 7], [40, 3, 5]])
    with torch.inference_mode():
        facts, relations, lengths = scorer.read(encoded, ASKED, candidates)
        ranked = scorer.network.rerank(scorer.asking.prompt, facts, relations, lengths)
        cosines = torch.einsum("bd,bnd->bn", encoded.last, scorer.vectors[candidates])
    assert ranked.abs().max() > 0.1
    retrieval = cosines / scorer.network.temperature + scorer.bias[candidates]
    near = scorer.similarity("neighbours", ASKED, candidates)
    expected = retrieval + 0.7 * ranked + 2.0 * near
    torch.testing.assert_close(scorer.rerank(encoded, ASKED, candidates), expected)
    torch.testing.assert_close(scorer.alone().rerank(encoded, ASKED, candidates), retrieval)


def test_the_best_candidates_are_reranked_and_stand_above_the_rest(scorer):
    """The retriever's six best of what somebody took, and the one new item."""
    final, plain = scorer.scores(ASKED), logits_of(scorer)
    for row in range(3):
        unseen = np.setdiff1d(np.arange(40), ASKED[row])
        best = unseen[np.argsort(-plain[row, unseen])]
        chosen = {*best[:6], 40}
        assert set(np.argsort(-final[row])[:7]) == chosen
        rest = final[row, best[6:]]
        assert (np.diff(rest) <= 0).all()
        assert final[row, [*chosen]].min() > rest.max()


def test_new_items_have_places_of_their_own(scorer):
    """However good they are, or bad, the others keep theirs."""
    encoded = scorer.encode(ASKED)
    for newcomers, lifted in ((1, -50.0), (1, 50.0), (0, 0.0)):
        one = reranking(scorer.handicapped(lifted), 6, newcomers)
        rows = one.retrieve(encoded, ASKED)
        assert rows.shape == (3, 6 + newcomers)
        assert (rows[:, :6] < 40).all()
        assert (rows[:, 6:] == 40).all()
    best, _ = reranking(scorer, 6, 0).rank(ASKED, 39)  # beyond the candidates it comes too
    assert (best == 40).any(axis=1).all()


def test_a_lift_acts_in_every_ranking_and_only_beyond_the_first_page(toy):
    cold = toy.catalog.rows["cold"]
    scorer = replace(toy.scorer, asking=replace(toy.scorer.asking, candidates=30, newcomers=5))
    low = scorer.handicapped(50.0)
    high = scorer.handicapped(50.0, 200.0)
    nobody = Histories.from_lists([[], [0]])
    (before, falls), (after, rises) = low.rank(nobody, 35), high.rank(nobody, 35)
    for row in range(2):
        assert before[row].tolist().index(cold) > PAGE
        assert after[row].tolist().index(cold) == PAGE
        assert (after[row, :PAGE] == before[row, :PAGE]).all()
        np.testing.assert_array_equal(falls[row, :PAGE], rises[row, :PAGE])
        others = after[row][after[row] != cold]
        np.testing.assert_array_equal(others, before[row][before[row] != cold])
    np.testing.assert_array_equal(high.rank(nobody, 12)[0], after[:, :12])
    whole = np.argsort(-high.scores(nobody, seen=True), axis=1, kind="stable")
    np.testing.assert_array_equal(whole[:, : PAGE + 3], after[:, : PAGE + 3])


def test_only_some_items_compete(scorer):
    rows = np.array([2, 7, 11, 30, 31, 32, 33, 34])
    among = scorer.among(rows)
    inside = Histories.from_lists([[1, 2], []])  # in the numbers of rows: 7 and 11
    found = among.scores(inside)
    assert found.shape == (2, 8)
    whole = scorer.within(rows).scores(Histories.from_lists([[7, 11], []]))
    np.testing.assert_allclose(found, whole[:, rows], atol=1e-5)
    assert set(np.argsort(-whole[0])[:6]) == set(rows) - {7, 11}


def test_seen_items_are_candidates_where_they_are_kept(scorer):
    kept = scorer.scores(ASKED, seen=True)
    plain, whole = scorer.alone().scores(ASKED, seen=True), logits_of(scorer)
    for row in range(3):
        best = np.argsort(-whole[row, :40])
        assert set(np.argsort(-kept[row])[:7]) == {*best[:6], 40}
        np.testing.assert_array_equal(np.argsort(-plain[row, :40])[:12], best[:12])
    rows = np.arange(41)
    np.testing.assert_array_equal(scorer.among(rows, seen=True).scores(ASKED), kept)


def test_fewer_items_than_candidates(scorer):
    wide = reranking(scorer, 1000)
    final = wide.scores(ASKED)
    assert np.isfinite(final).all()
    assert set(np.argsort(-final[0])[-3:]) == {3, 4, 5}


def rebuilt(toy, forgotten=(), handicap=0.0):
    """A scorer of the toy network in which nothing is known of some items."""
    network = copy.deepcopy(toy.network)
    for row in forgotten:
        network.items.present[row], network.items.trained[row] = False, False
    cold = ColdItems(torch.empty(0), torch.empty(0), torch.empty(0), torch.empty(0), None)
    asking = replace(toy.scorer.asking, candidates=6)
    made = Scorer.of(network, asking, cold, toy.catalog.item_ids).handicapped(handicap)
    return armed(made, toy)


def armed(scorer, toy):
    """A scorer with the reranker of the toy model."""
    given = replace(scorer, similarity=toy.scorer.similarity, relations=toy.scorer.relations)
    return given.weighing(toy.scorer.weights)


def test_an_item_of_which_nothing_is_known_is_last(toy):
    forgetful = rebuilt(toy, forgotten=[9])
    for one in (forgetful, forgetful.alone()):
        assert (one.scores(ASKED).argmin(1)[:2] == 9).all()


def test_a_handicap_lowers_what_was_never_taken_and_nothing_else(toy):
    cold = toy.catalog.rows["cold"]
    free, lowered = (rebuilt(toy, handicap=h).alone().scores(ASKED) for h in (0.0, 3.0))
    expected = free.copy()
    expected[:, cold] -= 3.0
    np.testing.assert_allclose(lowered, expected, atol=1e-5)


def test_the_index_orders_items_as_their_scores_do(toy):
    scorer = rebuilt(toy, forgotten=[9], handicap=2.0).alone()
    encoded = scorer.encode(ASKED)
    rows = reranking(scorer, 41).retrieve(encoded, ASKED, seen=True)
    assert (np.sort(rows) == np.delete(np.arange(41), 9)).all()  # of 9 nothing is known
    logits = scorer.retrieval(encoded, torch.from_numpy(rows[:, :39]))
    assert (logits.diff(dim=1) <= 1e-5).all()


def test_few_may_be_candidates_and_what_was_taken_is_none(toy):
    scorer = toy.scorer.within(np.array([2, 3, 30]))
    rows = reranking(scorer, 5).retrieve(scorer.encode(ASKED), ASKED)
    assert [set(row[row >= 0]) for row in rows] == [{2, 30}, {2, 3, 30}, {2, 3, 30}]


def test_an_approximate_index_shows_in_the_scores(toy, monkeypatch):
    """The same candidates for recommendations and for an evaluation."""
    monkeypatch.setattr(index, "MARGIN", 0)  # a list has five items; who wants more gets all lists
    asking = replace(toy.scorer.asking, candidates=6, newcomers=0, index="IVF8,Flat")
    blind = Scorer.of(toy.network, asking, ColdItems.of(toy.network.items, toy.config.cold),
                      toy.catalog.item_ids)  # fmt: skip
    import_faiss().downcast_index(blind.candidates.index._index).nprobe = 1
    for scorer in (armed(blind, toy), blind):
        found = scorer.retrieve(scorer.encode(ASKED), ASKED)
        exact = reranking(toy.scorer, 6, 0).retrieve(toy.scorer.encode(ASKED), ASKED)
        assert (found != exact).any()  # one list of eight does not find all
        ranked = np.argsort(-scorer.scores(ASKED), axis=1)
        best, _ = scorer.rank(ASKED, 6, never=ASKED)
        for row in range(3):
            real = found[row][found[row] >= 0]
            assert set(ranked[row, : len(real)]) == set(real) == set(best[row, : len(real)])


def test_new_items_are_found_exactly_beside_an_approximate_index(toy):
    """However few they are among many, whatever the index looks into."""
    asking = replace(toy.scorer.asking, candidates=6, newcomers=2, index="IVF8,Flat")
    network = copy.deepcopy(toy.network)
    network.items.trained[[5, 17]] = False
    cold = ColdItems.of(network.items, toy.config.cold)
    scorer = Scorer.of(network, asking, cold, toy.catalog.item_ids)
    import_faiss().downcast_index(scorer.candidates.index._index).nprobe = 1
    encoded = scorer.encode(ASKED)
    rows = scorer.retrieve(encoded, ASKED)[:, -2:]
    new = np.array([5, 17, 40])
    logits = (encoded.last @ scorer.vectors[new].T).numpy()
    for line, history in enumerate([[3, 4, 5], [], [21, 22]]):
        left = [place for place, row in enumerate(new) if row not in history]
        best = sorted(left, key=lambda place: -logits[line, place])[:2]
        assert rows[line].tolist() == new[best].tolist()
    taken = scorer.retrieve(encoded, ASKED)[:, :-2]
    assert not np.isin(taken, new).any()


def test_padding_is_no_new_item(toy):
    """A place without a candidate stands for row 0, which nobody may have taken."""
    network = copy.deepcopy(toy.network)
    network.items.trained[0] = network.items.present[0] = False
    network.items.trained[40] = True
    cold = ColdItems.of(network.items, toy.config.cold)
    scorer = Scorer.of(network, toy.scorer.asking, cold, toy.catalog.item_ids)
    scorer = reranking(scorer, 1000, 0)
    cases = toy.split.cases("valid").in_rows(toy.rows)
    parts = Parts.of(scorer, [], cases)
    assert (parts.retrieval == -torch.inf).any()
    assert not parts.new.any()
    assert fit_newcomers(scorer, cases) == (0.0, 0.0)


def test_the_handicap_is_the_least_that_spares_the_others(toy):
    cases = toy.split.cases("valid").in_rows(toy.rows)
    everything = np.append(toy.rows, toy.catalog.rows["cold"])

    def ndcg(handicap, rows):
        one = rebuilt(toy, handicap=handicap).alone()
        return validation_metrics(one.within(rows), cases)["ndcg@10"]

    found, _ = fit_newcomers(rebuilt(toy).alone(), cases)
    goal = (1 - ALLOWED_LOSS[PAGE]) * ndcg(0.0, toy.rows)
    assert ndcg(found, everything) >= goal
    assert found > HANDICAPS[0]
    assert all(ndcg(h, everything) < goal for h in HANDICAPS if h < found)
    forgetful = rebuilt(toy, forgotten=[toy.catalog.rows["cold"]])
    assert fit_newcomers(forgetful.alone(), cases) == (0.0, 0.0)


def test_what_a_lift_costs_the_others_rises_with_it_and_not_on_the_first_page():
    """One new item a list, at place 40; the target is before it, in two thirds behind the page."""
    n, c = 500, 60
    logits = -torch.arange(c, dtype=torch.float32).repeat(n, 1)
    new = torch.zeros(n, c, dtype=torch.bool)
    new[:, 40] = True
    targets = torch.arange(n) % 30
    parts = Parts(logits, {}, new, targets)
    alone = parts.ndcg({}, torch.inf, k=FAR).mean()
    losses = [1 - parts.ndcg({}, 0.0, lift, FAR).mean() / alone for lift in (0.0, 15.0, 40.0)]
    assert losses[0] == pytest.approx(0)
    assert losses == sorted(losses)
    assert losses[-1] > 0
    np.testing.assert_array_equal(parts.ndcg({}, 0.0, 40.0), parts.ndcg({}, 0.0))


def test_the_lift_is_the_greatest_that_spares_the_others(toy, monkeypatch):
    losses = {0.0: 0.0, 4.0: 0.9 * ALLOWED_LOSS[FAR], 8.0: 1.1 * ALLOWED_LOSS[FAR]}

    def ndcg(self, weights, handicap=0.0, lift=0.0, k=10):
        costly = k == FAR and handicap < torch.inf
        lost = losses[max(step for step in losses if step <= lift)] if costly else 0.0
        return np.full(len(self.targets), 0.5 * (1 - lost))

    monkeypatch.setattr(Parts, "ndcg", ndcg)
    cases = toy.split.cases("valid").in_rows(toy.rows)
    assert fit_newcomers(rebuilt(toy).alone(), cases) == (HANDICAPS[0], 7.875)
