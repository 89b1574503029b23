import numpy as np
import pytest
import pytrec_eval
from hypothesis import given, settings
from hypothesis import strategies as st

from p5mm.data.histories import Histories
from p5mm.errors import InputError
from p5mm.metrics.ranks import expected_ranks, metrics_per_user, top_items


@given(seed=st.integers(0, 10_000), n=st.integers(2, 60), users=st.integers(1, 6))
@settings(max_examples=60)
def test_metrics_agree_with_trec_eval(seed: int, n: int, users: int) -> None:
    rng = np.random.default_rng(seed)
    scores = np.stack([rng.permutation(n) for _ in range(users)]).astype(np.float32)
    targets = rng.integers(0, n, users)
    ours = metrics_per_user(expected_ranks(scores, targets), ks=(5, 10, 20))
    judged = {f"u{u}": {f"i{targets[u]}": 1} for u in range(users)}
    run = {f"u{u}": {f"i{i}": float(scores[u, i]) for i in range(n)} for u in range(users)}
    measures = {"recall.5,10,20", "ndcg_cut.5,10,20", "recip_rank"}
    theirs = pytrec_eval.RelevanceEvaluator(judged, measures).evaluate(run)
    for u in range(users):
        for k in (5, 10, 20):
            assert ours[f"recall@{k}"][u] == pytest.approx(theirs[f"u{u}"][f"recall_{k}"])
            assert ours[f"hit@{k}"][u] == ours[f"recall@{k}"][u]
            assert ours[f"ndcg@{k}"][u] == pytest.approx(theirs[f"u{u}"][f"ndcg_cut_{k}"])
        assert ours["mrr"][u] == pytest.approx(theirs[f"u{u}"]["recip_rank"])


@given(seed=st.integers(0, 10_000), n=st.integers(2, 30))
@settings(max_examples=60)
def test_filtering_is_ranking_among_the_rest(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 4, (1, n)).astype(np.float32)
    target, *seen = rng.permutation(n)[: rng.integers(1, n + 1)]
    rank = expected_ranks(scores, np.array([target]), Histories.from_lists([seen]))[0]
    rest = np.delete(scores[0], [*seen, target])
    orders = [
        1 + (rest > scores[0, target]).sum() + t
        for t in range((rest == scores[0, target]).sum() + 1)
    ]
    assert rank == np.mean(orders)


def test_equal_scores_have_the_middle_rank() -> None:
    scores = np.zeros((2, 101), np.float32)
    assert expected_ranks(scores, np.array([0, 100])).tolist() == [51.0, 51.0]


def test_filtered_items_do_not_tie_with_a_target_at_minus_infinity() -> None:
    scores = np.array([[-np.inf, 1.0, -np.inf]], np.float32)
    assert expected_ranks(scores, np.array([0]), Histories.from_lists([[1, 2]])).tolist() == [1.0]


def test_a_target_taken_before_still_ranks() -> None:
    scores = np.array([[3.0, 2.0, 1.0]], np.float32)
    assert expected_ranks(scores, np.array([1]), Histories.from_lists([[0, 1]])).tolist() == [1.0]


def test_scores_stay_unchanged() -> None:
    scores = np.arange(6, dtype=np.float32)[None]
    expected_ranks(scores, np.array([2]), Histories.from_lists([[4]]))
    assert scores.tolist() == [[0, 1, 2, 3, 4, 5]]


def test_nan_and_wrong_shapes_are_refused() -> None:
    with pytest.raises(InputError, match="NaN"):
        expected_ranks(np.array([[np.nan, 1.0]]), np.array([1]))
    with pytest.raises(InputError, match="one row a target"):
        expected_ranks(np.zeros((2, 3)), np.array([1]))
    with pytest.raises(InputError, match="one row a target"):
        expected_ranks(np.zeros((1, 3)), np.array([1]), Histories.from_lists([[0], [1]]))


def test_top_items_are_the_highest_unseen() -> None:
    scores = np.array([[5.0, 4.0, 3.0, 2.0]])
    assert top_items(scores, 2, Histories.from_lists([[0]])).tolist() == [[1, 2]]
    assert top_items(scores, 9).tolist() == [[0, 1, 2, 3]]
