"""What the reranker learns from: nothing that it is asked for may have been counted or learned."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from p5mm.data.catalog import Catalog
from p5mm.data.dataset import Dataset
from p5mm.data.histories import Histories
from p5mm.data.interactions import Interactions
from p5mm.data.split import Cases
from p5mm.evidence.counts import PAIRS, Counts
from p5mm.metrics.validation import spaced
from p5mm.model.relation_reader import FACTS, relation_names
from p5mm.serving.recommender import Recommender
from p5mm.training.fit import fit
from p5mm.training.ranking_cases import (
    FOLDS,
    HIDDEN,
    LEAST,
    SHARE,
    RankingCases,
    amid_new,
    held_back,
    hidden_items,
    unaware,
)

LISTS = st.lists(st.lists(st.integers(0, 30), unique=True, max_size=25), min_size=1, max_size=6)


@given(LISTS)
@settings(max_examples=60)
def test_the_last_items_of_each_history_are_held_back(lists):
    learned, cases = held_back(Histories.from_lists(lists))
    asked = iter(range(len(cases)))
    for user, items in enumerate(lists):
        back = min(max(LEAST, len(items) // SHARE), len(items) // 2)
        assert learned[user].tolist() == items[: len(items) - back]
        for place in range(len(items) - back, len(items)):
            case = next(asked)
            assert cases.users[case] == user
            assert cases.histories[case].tolist() == items[:place]
            assert cases.targets[case] == items[place]
    assert next(asked, None) is None


@given(LISTS)
@settings(max_examples=40)
def test_no_pair_of_a_target_is_counted(lists):
    """Counts are those of a log in which the targets never happened."""
    learned, cases = held_back(Histories.from_lists(lists))
    counts = Counts.of(learned, 31, 300)
    for case in range(len(cases)):
        target, user = cases.targets[case], cases.users[case]
        others = [set(learned[u].tolist()) for u in range(len(learned)) if u != user]
        assert counts.taken[target] == sum(target in items for items in others)
        for past in cases.histories[case]:
            elsewhere = any({past, target} <= items for items in others)
            for name in PAIRS:
                assert elsewhere or not getattr(counts, name)[past, target]


def test_cases_hold_what_the_retriever_finds(toy):
    scorer, rows = toy.scorer.alone().within(toy.rows), toy.rows
    cases = toy.split.cases("valid").in_rows(rows)
    made = RankingCases.of(scorer, cases)
    found = scorer.retrieve(scorer.encode(cases.histories), cases.histories)
    hits = (found == cases.targets[:, None]).any(1)
    assert len(made) == hits.sum() > 0
    width, reach = found.shape[1], made.relations.shape[2]
    names = relation_names(toy.content.vectors)
    assert made.relations.shape == (len(made), width, reach, len(names))
    assert made.relations.dtype == torch.float16
    best = made.logits.argmax(1)
    ranked = scorer.alone().rank(cases.histories, 1, never=cases.histories)[0][:, 0]
    assert (best == made.targets).sum() == (ranked == cases.targets)[hits].sum()
    some = np.concatenate(spaced(cases, 100, 7))
    assert len(RankingCases.of(scorer, cases, most=7)) == hits[some].sum()


@pytest.mark.parametrize("width", [2, 5, 40])
def test_drawn_cases_hold_their_target_and_others_of_the_same_request(width):
    cases, candidates = 6, 9
    marks = torch.arange(cases * candidates).reshape(cases, candidates)
    logits = marks.float()
    logits[2, 4:] = -torch.inf
    made = RankingCases(
        logits, marks[..., None].float(), marks[..., None, None].half(), torch.arange(cases),
        torch.tensor([0, 3, 2, 8, 4, 4]),
    )  # fmt: skip
    torch.manual_seed(0)
    drawn = made.drawn(4, width)
    case = drawn.lengths
    assert len(set(case.tolist())) == 4
    assert drawn.targets.tolist() == [0] * 4
    assert drawn.relations.dtype == torch.float32
    assert torch.equal(drawn.facts[:, 0, 0].long(), marks[case, made.targets[case]])
    for row, found in zip(case.tolist(), drawn.facts[..., 0].long().tolist(), strict=True):
        assert len(set(found)) == len(found) == min(width, candidates)
        assert set(found) <= set(marks[row].tolist())
    there = drawn.logits > -torch.inf
    assert torch.equal(drawn.relations[..., 0, 0], drawn.facts[..., 0])
    assert torch.equal(drawn.logits[there], drawn.facts[..., 0][there])
    few = there[case == 2]  # what is no candidate comes only where the others do not suffice
    assert (few.sum(1) == min(width, 4)).all()


def tiny(toys, lists, items=12, time=None):
    """A catalog of a few items, and who took them in this order."""
    catalog = Catalog.from_table(
        pa.table({"item_id": [f"i{n}" for n in range(items)],
                  "title": [f"ring{n % 4} step{n}" for n in range(items)]})
    )  # fmt: skip
    rows = [
        (f"u{user}", f"i{item}", place if time is None else time)
        for user, taken in enumerate(lists)
        for place, item in enumerate(taken)
    ]
    log = Interactions.from_rows(rows)
    config = toys.toy_config(epochs=1, tasks={"sequential": 0.5})
    encoders = replace(config.encoders, others=())
    retrieval = replace(config.retrieval, candidates=100)
    return Dataset(catalog, log, log), replace(config, encoders=encoders, retrieval=retrieval)


@pytest.mark.parametrize(
    ("lists", "time"),
    [
        ([[0, 1, 2], [3, 4, 5], [6, 7, 8]], None),  # a training part of one item each
        ([[0, 1], [1, 2], [2, 3], [3, 4, 5]], None),  # most have two items
        ([[n, n + 1, n + 2, n + 3, n + 4] for n in range(7)], 5),  # all at one time
        ([[n % 12, (n + 1) % 12, (n + 2) % 12, (n + 5) % 12] for n in range(20)], None),
    ],
)
def test_small_and_odd_logs_give_a_model_that_recommends(toys, lists, time):
    model = fit(*tiny(toys, lists, time=time))
    weights = model.fitted.weights
    assert set(weights) - {"decoder"} == {"neighbours", "content.text"}
    assert all(np.isfinite(list(weights.values())))
    table = Recommender(model).recommend(["u0"], k=100)
    left = 12 - len(set(lists[0]))
    assert table.num_rows == left
    assert len(set(table["item_id"].to_pylist())) == left


def test_nothing_to_hold_back_is_told_and_the_decoder_left_out(toys, caplog):
    model = fit(*tiny(toys, [[0, 1, 2], [3, 4, 5], [6, 7, 8]]))
    assert "decoder" not in model.fitted.weights
    assert not model.network.rank_head.weight.any()
    assert "without the T5's decoder" in caplog.text


def test_the_rehearsal_sees_nothing_of_what_is_held_back(toys, monkeypatch):
    """Neither the counts nor the retriever that its cases are made by."""
    asked, made = [], []
    real = RankingCases.of.__func__

    def spy(cls, scorer, cases, most=10**6, seen=None):
        asked.append((scorer, cases, seen))
        made.append(real(cls, scorer, cases, most, seen))
        return made[-1]

    monkeypatch.setattr(RankingCases, "of", classmethod(spy))
    model = fit(toys.toy_dataset(), toys.toy_config(epochs=1, tasks={"sequential": 0.5}))
    train = model.split.train
    train = replace(train, items=model.rows[train.items])
    learned, cases = held_back(train)
    (scorer, given_cases, _), *hidden, (final, _, _) = asked
    np.testing.assert_array_equal(given_cases.targets, cases.targets)
    taken = np.bincount(learned.items, minlength=len(model.catalog))
    np.testing.assert_array_equal(scorer.relations.counts.taken, taken)
    only = Counts.of(learned, len(model.catalog), model.config.similarity.neighbours)
    cold = model.catalog.rows[toys.COLD]
    for name in PAIRS:
        found = getattr(scorer.relations.counts, name).toarray()
        found[:, cold] = 0  # stands for others
        np.testing.assert_allclose(found, getattr(only, name).toarray())
    np.testing.assert_array_equal(scorer.network.items.trained.numpy(), taken > 0)
    assert final.network is model.network  # whose cases tell when to stop
    first, *others, last = (cases.facts[..., FACTS.index("new")] for cases in made)
    assert not first.any()
    assert not last.any()
    assert len(hidden) == len(others) == FOLDS
    for (scorer, given_cases, seen), new in zip(hidden, others, strict=True):
        away = np.flatnonzero((taken > 0) & (scorer.relations.counts.taken == 0))
        assert not np.isin(given_cases.histories.items, away).any()
        assert np.isin(seen.items, away).any()  # what its user took is no candidate
        assert np.isin(given_cases.targets, away).mean() >= 0.5
        assert new.any()


@given(st.integers(1, 40), st.integers(0, 9))
def test_no_item_is_hidden_twice_and_never_all_at_once(count, seed):
    items = torch.arange(count) * 3
    shares = hidden_items(items, seed)
    assert all(len(share) for share in shares)
    assert len(torch.cat(shares)) == count if count > FOLDS else len(shares) == count - 1
    assert torch.isin(torch.cat([*shares, items[:0]]).unique(), items).all()
    assert sum(map(len, shares)) == len({int(row) for share in shares for row in share})
    assert all(len(share) < max(count, 2) for share in shares)


def test_few_items_of_many_are_hidden_at_once():
    assert {len(share) for share in hidden_items(torch.arange(30 * HIDDEN), 0)} == {HIDDEN}


@given(st.lists(st.integers(0, 9), min_size=1, max_size=40))
def test_hidden_targets_and_as_many_others(targets):
    n = len(targets)
    cases = Cases(np.arange(n), Histories.from_lists([[11, 2, 5]] * n), np.array(targets))
    hidden = np.arange(12) < 3
    asked = amid_new(cases, hidden)
    read = unaware(asked, hidden)
    new = np.isin(targets, [0, 1, 2]).sum()
    assert np.isin(asked.targets, [0, 1, 2]).sum() == new
    assert len(asked) == new + min(new, n - new)
    assert len(set(asked.users)) == len(asked)
    assert all(read.histories[case].tolist() == [11, 5] for case in range(len(asked)))
    np.testing.assert_array_equal(read.targets, asked.targets)


def test_what_is_hidden_comes_back(toy):
    items = toy.network.items
    trained, tokens = items.trained.clone(), items()
    with items.hiding(torch.tensor([3, 5])):
        assert not items.trained[[3, 5]].any()
        assert int(items.trained.sum()) == int(trained.sum()) - 2
        assert not torch.equal(items()[3], tokens[3])
    torch.testing.assert_close(items(), tokens)
    assert torch.equal(items.trained, trained)


def test_the_handicap_is_fitted_as_in_a_shop_with_new_items(toys, monkeypatch):
    """A tenth is new, nobody knows of it, and it is no target."""
    found = {}

    def spy(scorer, cases, seen):
        items, new = scorer.network.items, ~scorer.network.items.trained
        found.update(new=new.clone(), targets=cases.targets, seen=seen, cases=cases)
        assert all(scorer.weights.values())
        assert items.present.any()
        return 1.25, 0.5

    monkeypatch.setattr("p5mm.training.fitting.fit_newcomers", spy)
    model = fit(toys.toy_dataset(), toys.toy_config(epochs=1, tasks={"sequential": 0.5}))
    assert (model.fitted.handicap, model.fitted.lift) == (1.25, 0.5)
    new = found["new"].numpy()
    cold = model.catalog.rows[toys.COLD]
    assert new[cold]
    assert new.sum() == 4  # a tenth of forty
    assert not new[found["targets"]].any()
    assert not new[found["cases"].histories.items].any()
    assert new[found["seen"].items].any()
    assert model.network.items.trained.sum() == 40  # what was hidden is back


def test_a_target_that_nobody_took_does_not_pay_for_new_items(toys, monkeypatch):
    """A validation item that no training history has stays out of the handicap's cases."""
    asked = []

    def spy(scorer, cases, seen):
        asked.append(cases)
        return 0.0, 0.0

    monkeypatch.setattr("p5mm.training.fitting.fit_newcomers", spy)
    lists = [[n % 10, (n + 1) % 10, (n + 2) % 10, (n + 3) % 10] for n in range(20)]
    lists[0][2] = 11  # the item before the last
    model = fit(*tiny(toys, lists))
    assert not model.network.items.trained[model.catalog.rows["i11"]]
    assert model.catalog.rows["i11"] not in asked[0].targets
    assert len(asked[0])
