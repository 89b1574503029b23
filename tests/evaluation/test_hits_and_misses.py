"""Stories of an evaluation against a ranking by hand."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from p5mm.evaluation.hits_and_misses import EACH, HISTORY, RECOMMENDED, evenly, hits_and_misses
from p5mm.evaluation.model_report import evaluate_model
from p5mm.evaluation.page import evaluation_page


@pytest.fixture(scope="module")
def report(toy):
    return evaluate_model(toy, "test", None, ["item-knn", "popularity"])


@pytest.mark.parametrize("keep_seen", [False, True])
def test_stories_agree_with_a_ranking_by_hand(toy, keep_seen):
    report = evaluate_model(toy, "test", None, ["popularity"], keep_seen=keep_seen)
    stories = hits_and_misses(report, toy)
    cases = toy.split.cases("test")
    users, _ = toy.core.histories(list(toy.fitted.items))
    assert stories.hit_count + stories.miss_count == len(cases)
    for story in [*stories.hits, *stories.misses]:
        case = np.flatnonzero(cases.users == users.index(story.user_id))
        (scores,) = toy.scorer.among(toy.rows, keep_seen).scores(cases.histories.select(case))
        history, target = cases.histories[int(case[0])], cases.targets[case[0]]
        ranked = np.argsort(-scores, kind="stable")
        open_items = [i for i in ranked if keep_seen or i not in history]
        assert story.recommended == [toy.fitted.items[i] for i in open_items[:RECOMMENDED]]
        assert story.history == [toy.fitted.items[i] for i in history[-HISTORY:]]
        assert story.truth == toy.fitted.items[target]
        assert story.rank == open_items.index(target) + 1
    assert all(story.truth in story.recommended for story in stories.hits)
    assert all(story.truth not in story.recommended for story in stories.misses)
    assert len(stories.hits) == min(EACH, stories.hit_count)
    assert len(stories.misses) == min(EACH, stories.miss_count)
    assert hits_and_misses(report, toy) == stories


def test_a_hit_is_within_the_first_six_and_a_history_ends_with_its_newest(report, toy, monkeypatch):
    monkeypatch.setattr("p5mm.evaluation.hits_and_misses.HISTORY", 2)
    ranks = np.resize([1.0, 5.5, 6.0, 6.5, 7.0, 49.0], report.protocol["users"])
    stories = hits_and_misses(replace(report, per_user={"p5mm": {"mrr": 1 / ranks}}), toy)
    assert stories.hit_count == (ranks <= RECOMMENDED).sum()
    assert {story.rank for story in stories.misses} <= {6.5, 7.0, 49.0}
    cases = toy.split.cases("test")
    users, _ = toy.core.histories(list(toy.fitted.items))
    for story in stories.hits:
        case = int(np.flatnonzero(cases.users == users.index(story.user_id))[0])
        assert story.history == [toy.fitted.items[i] for i in cases.histories[case][-2:]]


@given(st.integers(0, 400), st.integers(1, 12))
def test_evenly_spreads(rows, n):
    chosen = evenly(np.arange(rows), n)
    assert len(chosen) == min(rows, n)
    assert len(set(chosen.tolist())) == len(chosen)
    if rows <= n:
        assert chosen.tolist() == list(range(rows))
    else:
        gaps = np.diff([*chosen, rows + chosen[0]])
        assert gaps.max() - gaps.min() <= 1


def test_misses_that_the_rival_hits(report, toy, page_of):
    users = report.protocol["users"]
    ours, theirs = np.resize([1.0, 9.0, 9.0, 6.0], users), np.resize([9.0, 1.0, 9.0, 6.0], users)
    per_user = {"p5mm": report.per_user["p5mm"] | {"mrr": 1 / ours}}
    per_user |= {name: report.per_user["popularity"] | {"mrr": 1 / theirs} for name in ("x", "bpr")}
    stories = hits_and_misses(replace(report, per_user=per_user), toy)
    assert stories.rival == "bpr"
    assert stories.lost_count == ((ours > 6) & (theirs <= 6)).sum()
    assert stories.won_count == ((ours <= 6) & (theirs > 6)).sum()
    known, _ = toy.core.histories(list(toy.fitted.items))
    cases = toy.split.cases("test").users.tolist()
    lost = [cases.index(known.index(story.user_id)) for story in stories.lost]
    assert len(lost) == EACH
    assert all(ours[case] > 6 and theirs[case] <= 6 for case in lost)
    assert not {s.user_id for s in stories.lost} & {s.user_id for s in stories.misses}
    coverage = dict.fromkeys(per_user, report.coverage["p5mm"])
    page = page_of(evaluation_page(replace(report, per_user=per_user, coverage=coverage), toy))
    assert "Missed here, found by BPR" in page.text
    assert f"{stories.lost_count} users; the other way round for {stories.won_count}" in page.text
