import json
from collections.abc import Iterator

import numpy as np
import pytest
import pytrec_eval
import torch

from p5mm.baselines.base import baselines
from p5mm.baselines.item_knn import ItemKNN
from p5mm.data.histories import Histories
from p5mm.data.split import Cases, LeaveOneOut
from p5mm.errors import InputError
from p5mm.evaluation.evaluate import evaluate, fit_baselines, slices
from p5mm.evaluation.report import Report

ITEMS = 30


class Fixed:
    """The same scores for everybody."""

    def __init__(self, scores: np.ndarray) -> None:
        self.row = scores.astype(np.float32)
        self.largest_batch = 0

    def scores(self, histories: Histories) -> np.ndarray:
        self.largest_batch = max(self.largest_batch, len(histories))
        return np.tile(self.row, (len(histories), 1))


def shoppers(users: int, seed: int) -> LeaveOneOut:
    """Two tastes; popular items first within each."""
    rng = np.random.default_rng(seed)
    weights = 1 / np.arange(1, ITEMS // 2 + 1)
    lists = []
    for user in range(users):
        drawn = rng.choice(ITEMS // 2, rng.integers(3, 9), replace=False, p=weights / weights.sum())
        lists.append(drawn * 2 + user % 2)
    return LeaveOneOut(Histories.from_lists(lists))


@pytest.fixture
def one_thread() -> Iterator[None]:
    """The network is so small that more threads only wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def split() -> LeaveOneOut:
    return shoppers(400, seed=0)


@pytest.fixture(scope="module")
def report(split: LeaveOneOut) -> Report:
    rankers = fit_baselines(split, ITEMS, names=["item-knn", "popularity"])
    rankers |= {"p5mm": rankers["item-knn"], "retriever": rankers["popularity"]}
    return evaluate(rankers, split.cases("test"), ITEMS, ks=(5, 10), seed=3, candidates=20)


def test_json_has_the_shape_that_others_rely_on(report: Report) -> None:
    written = json.loads(json.dumps(report.to_json()))
    assert list(written) == [
        "protocol", "models", "retrieval", "differences", "coverage", "slices", "tasks"
    ]  # fmt: skip
    assert set(written["models"]) == {"item-knn", "popularity", "p5mm", "retriever"}
    for metrics in written["models"].values():
        assert set(metrics) == {
            "recall@5", "recall@10", "hit@5", "hit@10", "ndcg@5", "ndcg@10", "mrr"
        }  # fmt: skip
        for mean in metrics.values():
            assert set(mean) == {"value", "low", "high"}
            assert 0 <= mean["low"] <= mean["value"] <= mean["high"] <= 1
    assert list(written["retrieval"]) == ["recall@20"]
    assert 0 < written["retrieval"]["recall@20"] <= 1
    assert written["protocol"] == {
        "split": "test",
        "held out": "leave-one-out by time",
        "ranking": "full catalog",
        "users": 400,
        "items": ITEMS,
        "seen filtered": True,
        "ties": "expected rank",
        "ks": [5, 10],
        "intervals": "95 % percentile bootstrap over users, 1000 draws",
        "seed": 3,
    }
    assert written["tasks"] == {}


def test_values_are_the_means_over_users(report: Report) -> None:
    value = report.to_json()["models"]["p5mm"]["ndcg@10"]["value"]
    assert value == pytest.approx(report.per_user["p5mm"]["ndcg@10"].mean())


def test_differences_are_paired(report: Report) -> None:
    differences = report.differences
    assert set(differences) == {"p5mm - item-knn", "p5mm - popularity", "p5mm - retriever"}
    same = differences["p5mm - item-knn"]["ndcg@10"]
    assert (same.low, same.value, same.high) == (0, 0, 0)
    assert differences["p5mm - popularity"]["ndcg@10"].low > 0


@pytest.mark.parametrize(("width", "shown"), [(80, 2), (200, 4)])
def test_a_table_is_no_wider_than_it_may_be(report: Report, width: int, shown: int) -> None:
    lines = report.table(width).splitlines()
    assert max(map(len, lines)) <= width
    metrics = ["recall@10", "ndcg@10", "recall@5", "ndcg@5"]
    assert lines[0].split() == ["model", *metrics[:shown]]
    rows = {**report.models, **report.differences}
    assert len(rows) == 4 + 3
    for line, (name, of) in zip(lines[2 : 2 + len(rows)], rows.items(), strict=True):
        cells = [f"{of[m].value:.4f} [{of[m].low:.4f}, {of[m].high:.4f}]" for m in metrics[:shown]]
        assert [cell.strip() for cell in line.split("  ") if cell.strip()] == [name, *cells]
    rest = [f"not shown: {', '.join(metrics[shown:])}"] if shown < 4 else []
    recall = report.retrieval["recall@20"]
    asked = "test, 400 cases; seen items filtered; leave-one-out by time"
    assert lines[2 + len(rows) :] == [*rest, f"retriever recall@20 {recall:.4f}", asked]


@pytest.mark.parametrize(("columns", "width"), [("132", 132), ("", 80)])
def test_a_table_fits_the_terminal(report: Report, monkeypatch, columns: str, width: int) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setattr("sys.__stdout__", None)  # no terminal to ask
    assert report.table() == report.table(width)


def test_known_ranks_and_coverage() -> None:
    cases = Cases(
        np.arange(2), Histories.from_lists([[9], [8, 7]]), np.array([6, 0], dtype=np.int64)
    )
    report = evaluate({"fixed": Fixed(np.arange(10))}, cases, 10, ks=(1, 5))
    # 9 is seen: 8, 7, then 6 -> rank 3; 8 and 7 are seen: 9, 6, 5, 4, 3, 2, 1, then 0 -> rank 8.
    assert report.per_user["fixed"]["mrr"].tolist() == [1 / 3, 1 / 8]
    assert report.coverage["fixed"] == {"coverage@1": 0.2, "coverage@5": 0.7}


def test_equal_scores_get_the_middle(split: LeaveOneOut) -> None:
    cases = split.cases("test")
    report = evaluate({"flat": Fixed(np.zeros(ITEMS))}, cases, ITEMS)
    unseen = ITEMS - cases.histories.lengths
    np.testing.assert_allclose(1 / report.per_user["flat"]["mrr"], (unseen + 1) / 2)


def test_kept_seen_items_compete_as_in_a_naive_full_ranking(split: LeaveOneOut) -> None:
    rankers = fit_baselines(split, ITEMS, names=["item-knn", "popularity"])
    cases = split.cases("test")
    kept = evaluate(rankers, cases, ITEMS, keep_seen=True)
    filtered = evaluate(rankers, cases, ITEMS)
    assert (kept.protocol["seen filtered"], filtered.protocol["seen filtered"]) == (False, True)
    assert "seen items compete" in kept.table(100)
    for name, ranker in rankers.items():
        scores = ranker.scores(cases.histories)
        own = scores[np.arange(len(cases)), cases.targets][:, None]
        naive = 1 + (scores > own).sum(axis=1) + ((scores == own).sum(axis=1) - 1) / 2
        np.testing.assert_allclose(kept.per_user[name]["mrr"], 1 / naive)
        assert (kept.per_user[name]["mrr"] <= filtered.per_user[name]["mrr"]).all()


def test_batches_do_not_matter_and_are_kept(split: LeaveOneOut) -> None:
    ranker = Fixed(np.random.default_rng(0).random(ITEMS))
    few = evaluate({"r": ranker}, split.cases("test"), ITEMS, batch=7)
    assert ranker.largest_batch == 7
    many = evaluate({"r": ranker}, split.cases("test"), ITEMS, batch=1000)
    np.testing.assert_array_equal(few.per_user["r"]["mrr"], many.per_user["r"]["mrr"])


@pytest.mark.parametrize("seed", range(3))
def test_an_evaluation_agrees_with_trec_eval_on_unseen_items(seed: int) -> None:
    """The whole road: histories are taken out of the run that trec_eval is given."""
    rng = np.random.default_rng(seed)
    cases = shoppers(60, seed).cases("test")
    scores = np.stack([rng.permutation(ITEMS) for _ in range(len(cases))]).astype(np.float32)
    by_history = {items.tobytes(): row for items, row in zip(lists_of(cases), scores, strict=True)}

    class Known:
        def scores(self, histories: Histories) -> np.ndarray:
            asked = (histories[user].tobytes() for user in range(len(histories)))
            return np.stack([by_history[items] for items in asked])

    ours = evaluate({"known": Known()}, cases, ITEMS, ks=(5, 10), batch=7).per_user["known"]
    run = {
        str(user): {str(i): float(by_history[h.tobytes()][i]) for i in range(ITEMS) if i not in h}
        for user, h in enumerate(lists_of(cases))
    }
    judged = {str(user): {str(target): 1} for user, target in enumerate(cases.targets)}
    measures = {"recall.5,10", "ndcg_cut.5,10", "recip_rank"}
    theirs = pytrec_eval.RelevanceEvaluator(judged, measures).evaluate(run)
    names = {"recall@5": "recall_5", "recall@10": "recall_10", "ndcg@5": "ndcg_cut_5",
             "ndcg@10": "ndcg_cut_10", "mrr": "recip_rank"}  # fmt: skip
    for name, their_name in names.items():
        wanted = [theirs[str(user)][their_name] for user in range(len(cases))]
        np.testing.assert_allclose(ours[name], wanted)


def lists_of(cases: Cases) -> list[np.ndarray]:
    return [cases.histories[case] for case in range(len(cases))]


def test_slices_divide_the_cases(split: LeaveOneOut) -> None:
    cases = split.cases("test")
    masks = slices(cases, ITEMS)
    for prefix in ("history", "target taken"):
        stacked = np.stack([mask for label, mask in masks.items() if label.startswith(prefix)])
        assert (stacked.sum(axis=0) == 1).all()
    assert (cases.histories.lengths[masks["history 0-5"]] <= 5).all()


def test_slice_means_weigh_back_to_the_mean(report: Report) -> None:
    means = {k: v for k, v in report.slice_means("ndcg@10").items() if k.startswith("history")}
    total = sum(v["cases"] * v["p5mm"] for v in means.values()) / 400
    assert total == pytest.approx(report.per_user["p5mm"]["ndcg@10"].mean())


@pytest.mark.parametrize("name", ["popularity", "item-knn", "bpr", "sasrec"])
def test_item_numbers_carry_no_meaning(name: str, split: LeaveOneOut, one_thread: None) -> None:
    quick = {"bpr": {"factors": (8,), "iterations": (60,)}, "sasrec": {"dim": 16, "epochs": 20}}
    other = np.random.default_rng(5).permutation(ITEMS)[split.log.items]
    renamed = LeaveOneOut(Histories(other, split.log.offsets, split.log.ratings))
    means = []
    for log in (split, renamed):
        model = baselines.get(name)(**quick.get(name, {}))
        model.fit(log, ITEMS)
        means.append(evaluate({name: model}, log.cases("test"), ITEMS).models[name]["ndcg@10"])
    assert means[0].low <= means[1].value <= means[0].high


def test_fitted_baselines_are_cached(split: LeaveOneOut, tmp_path, monkeypatch) -> None:
    first = fit_baselines(split, ITEMS, tmp_path, ["item-knn"])["item-knn"]
    assert (tmp_path / "item-knn.safetensors").exists()
    fits = []
    fit = ItemKNN.fit
    monkeypatch.setattr(ItemKNN, "fit", lambda *args: (fits.append(1), fit(*args)))
    again = fit_baselines(split, ITEMS, tmp_path, ["item-knn"])["item-knn"]
    assert not fits
    histories = split.cases("test").histories
    np.testing.assert_array_equal(first.scores(histories), again.scores(histories))
    fit_baselines(shoppers(50, seed=1), ITEMS, tmp_path, ["item-knn"])
    assert fits


def test_errors_say_what_is_wrong(split: LeaveOneOut) -> None:
    with pytest.raises(InputError, match="three items"):
        evaluate({}, LeaveOneOut(Histories.from_lists([[1, 2]])).cases("test"), ITEMS)
    with pytest.raises(InputError, match="'short' gave scores"):
        evaluate({"short": Fixed(np.zeros(3))}, split.cases("test"), ITEMS)
    with pytest.raises(InputError, match="did you mean 'item-knn'"):
        fit_baselines(split, ITEMS, names=["itemknn"])
