"""New items: nothing of them is learned from, and they are ranked by their content."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from p5mm.baselines.content_knn import ContentKNN, tuned, weightings
from p5mm.baselines.popularity import Popularity
from p5mm.data.histories import Histories
from p5mm.errors import InputError
from p5mm.evaluation.cold_start import ColdStart, Counted, Only, among_new, cold_report, last_of
from p5mm.evaluation.evaluate import evaluate
from p5mm.evidence.counts import PAIRS, Counts
from p5mm.model.build import build_network
from p5mm.model.content import Content
from p5mm.serving.recommender import Recommender
from p5mm.training.fit import fit

SHARE = 0.2


@pytest.fixture(scope="module")
def cold(toys):
    return ColdStart.draw(toys.toy_dataset(), SHARE, seed=1)


@pytest.fixture(scope="module")
def model(cold, toys):
    return fit(cold.training(0), toys.toy_config(epochs=4))


def test_the_parts_share_no_item_and_hold_the_share(cold):
    valid, test = cold.held_out["valid"], cold.held_out["test"]
    assert not set(valid) & set(test)
    assert len(valid) == len(test) == round(SHARE * 40) // 2
    assert list(cold.rows) == sorted(cold.dataset.catalog.rows[item] for item in valid + test)


def test_the_draw_is_a_function_of_the_seed(toys):
    first, same, other = (ColdStart.draw(toys.toy_dataset(), SHARE, seed) for seed in (5, 5, 6))
    assert first.held_out == same.held_out != other.held_out


@pytest.mark.parametrize("share", [0.0, 0.01, 1.0])
def test_a_share_that_leaves_nothing_is_refused(toys, share):
    with pytest.raises(InputError, match="give a share"):
        ColdStart.draw(toys.toy_dataset(), share)


def test_nothing_of_a_new_item_is_learned_from(cold, model):
    dataset = cold.training(0)
    assert len(dataset.catalog) == len(cold.dataset.catalog)
    assert not cold.new & (set(dataset.log.item_ids) | set(dataset.interactions.item_ids))
    assert not cold.new & set(model.fitted.items)
    assert not model.network.items.trained[torch.from_numpy(cold.rows)].any()
    valid = model.rows[model.split.cases("valid").targets]
    assert not np.isin(valid, cold.rows).any()


@settings(max_examples=100)
@given(
    st.lists(st.lists(st.integers(0, 7), unique=True, max_size=8), min_size=1, max_size=6),
    st.sets(st.integers(0, 7)),
    st.sets(st.integers(0, 7)),
)
def test_cases_are_the_last_wanted_items_after_something_known(lists, wanted, others):
    histories = Histories.from_lists(lists)
    is_wanted, left_out = np.zeros(8, np.bool_), np.zeros(8, np.bool_)
    is_wanted[list(wanted)] = True
    left_out[list(wanted | others)] = True
    cases = last_of(histories, is_wanted, left_out)
    expected = []
    for user, items in enumerate(lists):
        case = None
        for place, item in enumerate(items):
            before = [known for known in items[:place] if not left_out[known]]
            if item in wanted and before:
                case = (user, before, item)
        expected += [case] if case else []
    got = [
        (int(user), cases.histories[i].tolist(), int(target))
        for i, (user, target) in enumerate(zip(cases.users, cases.targets, strict=True))
    ]
    assert got == expected


def test_an_unknown_part_is_refused(cold):
    with pytest.raises(InputError, match="valid, test"):
        cold.cases("train")


def test_ratings_stay_with_their_items(cold, toys):
    cases = cold.cases("valid")
    rated = {toys.ring_item(r, s): 5.0 if s < 5 else 2.0 for r in range(4) for s in range(10)}
    names = [cold.dataset.catalog.item_ids[row] for row in cases.histories.items]
    assert cases.histories.ratings.tolist() == [rated[name] for name in names]


def test_ranking_among_the_new_is_ranking_the_new_alone(cold, model):
    cases = cold.cases("test")
    ranker = among_new(model.scorer, cold.rows)
    scores = ranker.scores(cases.histories)
    others = np.setdiff1d(np.arange(len(model.catalog)), cold.rows)
    assert np.isneginf(scores[:, others]).all()
    encoded = model.scorer.encode(cases.histories)
    rows = torch.from_numpy(np.tile(cold.rows, (len(cases), 1)))
    alone = model.scorer.rerank(encoded, cases.histories, rows).numpy()
    np.testing.assert_allclose(scores[:, cold.rows], alone, atol=1e-4)


def test_new_items_are_found_by_their_content_alone(cold, model):
    n_items = len(model.catalog)
    rankers = {
        "p5mm": among_new(model.scorer, cold.rows),
        "random": Only(Counted(np.zeros(n_items, np.int64)), cold.rows),
    }
    report = cold_report(rankers, cold.cases("test"), n_items, part="test", seed=0, among="new")
    assert report.protocol["ranking"] == "new"
    rank = {name: float((1 / report.per_user[name]["mrr"]).mean()) for name in rankers}
    assert rank["p5mm"] < 0.7 * rank["random"]
    assert "p5mm - random" in report.table()


def test_counts_decide_and_ties_are_random(cold):
    histories = Histories.from_lists([[0, 1], [2], []])
    counts = np.array([3, 0, 1, 0])
    scores = Counted(counts, seed=4).scores(histories)
    assert (scores[:, 0] > scores[:, 2]).all()
    assert (scores[:, 2] > scores[:, [1, 3]].max(1)).all()
    np.testing.assert_array_equal(scores, Counted(counts, seed=4).scores(histories))
    alone = Counted(counts, seed=4).scores(histories.select(np.array([1])))
    np.testing.assert_array_equal(scores[1], alone[0])
    assert not np.array_equal(scores, Counted(counts, seed=5).scores(histories))


def test_a_random_ranking_finds_k_of_n():
    n_items, users = 40, 4_000
    rng = np.random.default_rng(0)
    lists = [rng.integers(0, n_items, 3).tolist() for _ in range(users)]
    scores = Counted(np.zeros(n_items, np.int64)).scores(Histories.from_lists(lists))
    hits = (scores > scores[:, :1]).sum(1) < 10
    assert abs(hits.mean() - 10 / n_items) < 0.03


def unit_rows(n, dim, seed):
    vectors = np.random.default_rng(seed).normal(size=(n, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.mark.parametrize("sharpness", [0.0, 4.0])
def test_content_knn_is_its_formula(sharpness):
    vectors = {"text": unit_rows(6, 3, 0), "image": unit_rows(6, 5, 1)}
    weights = {"text": 0.75, "image": 0.25}
    histories = Histories.from_lists([[0, 3, 5], [2]])
    scores = ContentKNN(vectors, weights, 0.5, sharpness).scores(histories)
    for user in range(2):
        items = histories[user][::-1]
        for candidate in range(6):
            total = 0.0
            for name, weight in weights.items():
                cosines = vectors[name][items] @ vectors[name][candidate]
                near = np.exp(sharpness * cosines) if sharpness else cosines
                decay = 0.5 ** np.arange(len(items))
                total += weight * float((decay * near).sum() / decay.sum())
            assert scores[user, candidate] == pytest.approx(total, rel=1e-4)


def test_an_item_without_content_is_no_nearer_than_chance():
    vectors = {"text": np.array([[1, 0], [0, 0], [0.6, 0.8]], np.float32)}
    scores = ContentKNN(vectors, {"text": 1.0}, 1.0, 0.0).scores(Histories.from_lists([[0]]))
    np.testing.assert_allclose(scores[0], [1.0, 0.0, 0.6], atol=1e-6)


def test_tuning_takes_the_best_settings():
    vectors = {"text": unit_rows(4, 3, 0), "image": unit_rows(4, 3, 1)}

    def measure(knn):
        return knn.weights["image"] - abs(knn.decay - 0.8) + knn.sharpness

    best = tuned(vectors, measure)
    assert (best.weights, best.decay, best.sharpness) == ({"text": 0.0, "image": 1.0}, 0.8, 16.0)


def test_weights_sum_to_one_and_none_is_left_out():
    weights = list(weightings(["a", "b"]))
    assert len(weights) == 5
    assert all(sum(shares.values()) == 1.0 for shares in weights)


def shrunk(model, cold):
    """The same trained network over the catalog without the new items, and these apart."""
    kept = np.setdiff1d(np.arange(len(model.catalog)), cold.rows)
    known, new = (
        replace(model.catalog, table=model.catalog.table.take(pa.array(rows)))
        for rows in (kept, cold.rows)
    )
    whole = model.content
    content = Content(
        len(kept),
        {name: v[kept] for name, v in whole.vectors.items()},
        {name: p[kept] for name, p in whole.present.items()},
        whole.fingerprints,
        whole.maps,
    )
    trained = model.network.items.trained[torch.from_numpy(kept)]
    network = build_network(model.config.model, content, trained, model.network.t5)
    state = model.network.state_dict()
    for name in ("items.trained", "items.residual.weight"):
        state[name] = state[name][torch.from_numpy(kept)]
    network.load_state_dict({n: v for n, v in state.items() if not n.startswith("rating_prior")})
    small = replace(
        model,
        catalog=known,
        content=content,
        network=network.eval(),
        counts=Counts(
            **{name: getattr(model.counts, name)[kept][:, kept] for name in PAIRS},
            taken=model.counts.taken[kept],
        ),
    )
    return small, new


def test_items_added_later_score_as_if_they_had_been_there(model, cold):
    small, new = shrunk(model, cold)
    assert not cold.new & set(small.catalog.item_ids)
    grown = Recommender(small).add_items(new)
    users = model.user_ids[:12]
    pairs = pa.table(
        {
            "user_id": [user for user in users for _ in model.catalog.item_ids],
            "item_id": [item for _ in users for item in model.catalog.item_ids],
        }
    )
    there, later = (
        recommender.score(pairs)["score"].to_numpy() for recommender in (Recommender(model), grown)
    )
    np.testing.assert_allclose(there, later, atol=2e-4)


def test_popularity_ties_new_items_last(cold, model):
    """Why ties are broken: at the expected rank, no popularity would ever show a new item."""
    cases = cold.cases("test")
    ranker = Popularity()
    taken = model.rows[model.split.train.items]
    ranker.counts = np.bincount(taken, minlength=len(model.catalog)).astype(np.float32)
    ranks = evaluate({"popularity": ranker}, cases, len(model.catalog), (10,))
    assert ranks.per_user["popularity"]["recall@10"].max() == 0.0
