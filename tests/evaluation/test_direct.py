"""The direct task: stored candidates that nobody took, targets at no fixed place, fair ranks."""

import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, chisquare

from p5mm.data.histories import Histories
from p5mm.data.split import LeaveOneOut
from p5mm.errors import InputError
from p5mm.evaluation.direct import (
    KS,
    Asked,
    Picked,
    Served,
    chosen_ranks,
    direct_report,
    fit_weight,
)
from p5mm.evaluation.stored_candidates import StoredCandidates, stored_candidates
from p5mm.metrics.rating_errors import RatingCases

ITEMS, COUNT = 60, 20


class Fixed:
    """The same scores for everybody."""

    def __init__(self, row: np.ndarray) -> None:
        self.row = row.astype(np.float32)

    def scores(self, histories: Histories) -> np.ndarray:
        return np.tile(self.row, (len(histories), 1))


class Place:
    """Scores that depend on the place among the candidates alone."""

    def __init__(self, row: np.ndarray) -> None:
        self.row = row

    def choose(self, histories: Histories, candidates: np.ndarray) -> np.ndarray:
        return np.tile(self.row, (len(candidates), 1))


def shoppers(users: int = 300, seed: int = 0) -> LeaveOneOut:
    rng = np.random.default_rng(seed)
    lists = [rng.choice(ITEMS, rng.integers(3, 25), replace=False) for _ in range(users)]
    return LeaveOneOut(Histories.from_lists(lists))


@pytest.fixture(scope="module")
def split() -> LeaveOneOut:
    return shoppers()


@pytest.fixture(scope="module")
def drawn(split: LeaveOneOut) -> StoredCandidates:
    return StoredCandidates.draw(split, "test", ITEMS, seed=1, count=COUNT)


@pytest.mark.parametrize("part", ["valid", "test"])
def test_candidates_are_the_target_and_items_never_taken(split, part):
    drawn = StoredCandidates.draw(split, part, ITEMS, seed=2, count=COUNT)
    assert drawn.candidates.shape == (len(split.cases(part)), COUNT)
    for user, target, row in zip(
        drawn.cases.users, drawn.cases.targets, drawn.candidates, strict=True
    ):
        assert len(set(row.tolist())) == COUNT
        # Everything the user ever took, whatever part it is in, but for the target.
        assert set(row.tolist()) & set(split.log[user].tolist()) == {target}


def test_all_tasks_ask_for_the_same_held_out_items(split):
    rated = np.ones(len(split.log.items), dtype=np.float32)
    split = LeaveOneOut(Histories(split.log.items, split.log.offsets, rated))
    for part in ("valid", "test"):
        sequential = split.cases(part)
        direct = StoredCandidates.draw(split, part, ITEMS, count=COUNT).cases
        rating = RatingCases.of(split, part).cases
        for other in (direct, rating):
            assert np.array_equal(other.users, sequential.users)
            assert np.array_equal(other.targets, sequential.targets)
            assert np.array_equal(other.histories.items, sequential.histories.items)
            assert np.array_equal(other.histories.offsets, sequential.histories.offsets)


def test_the_place_of_the_target_is_any():
    drawn = StoredCandidates.draw(shoppers(3000), "test", ITEMS, count=COUNT)
    counts = np.bincount(drawn.places, minlength=COUNT)
    assert chisquare(counts).pvalue > 1e-3
    assert np.array_equal(
        drawn.candidates[np.arange(len(drawn)), drawn.places], drawn.cases.targets
    )


def test_negatives_are_drawn_evenly():
    """A user who took items 0 to 9: each other item is drawn as often."""
    log = Histories.from_lists([list(range(10))] * 4000)
    drawn = StoredCandidates.draw(LeaveOneOut(log), "test", 30, count=6)
    counts = np.bincount(drawn.candidates.ravel(), minlength=30)
    assert counts[:9].sum() == 0
    assert counts[9] == 4000
    # Without replacement counts vary less than a multinomial, so the test can only be too kind
    # to an even draw, never to an uneven one.
    assert chisquare(counts[10:]).pvalue > 1e-3


def test_too_few_items_are_told():
    log = Histories.from_lists([list(range(10)), [0, 1, 2]])
    with pytest.raises(InputError, match=r"took 10 of 12 items.*at most 3 candidates"):
        StoredCandidates.draw(LeaveOneOut(log), "test", 12, count=4)
    assert len(StoredCandidates.draw(LeaveOneOut(log), "test", 12, count=3)) == 2


def test_one_seed_one_file(split, tmp_path):
    users = [f"u{i}" for i in range(300)]
    items = [f"i{i:03}" for i in range(ITEMS)]
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        drawn = StoredCandidates.draw(split, "test", ITEMS, seed=seed, count=COUNT)
        drawn.write(tmp_path / name, users, items)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert (tmp_path / "a").read_bytes() != (tmp_path / "c").read_bytes()


def test_what_is_stored_is_what_is_read(split, drawn, tmp_path):
    users = [f"u{i}" for i in range(300)]
    items = [f"i{i:03}" for i in range(ITEMS)]
    path = tmp_path / "folder" / "candidates.parquet"
    drawn.write(path, users, items)
    table = pq.read_table(path)
    assert table.column_names == ["user_id", "candidates", "target"]
    first = table.to_pylist()[0]
    assert first["target"] in first["candidates"]
    assert first["candidates"] == [items[row] for row in drawn.candidates[0]]
    again = StoredCandidates.read(path, split.cases("test"), users, items)
    assert np.array_equal(again.candidates, drawn.candidates)
    with pytest.raises(InputError, match="another split"):
        StoredCandidates.read(path, split.cases("valid"), users, items)
    first = StoredCandidates(split.cases("test").take(np.array([0])), drawn.candidates[:1])
    first.write(path, users, items)
    other = next(row for row in first.candidates[0] if row != first.cases.targets[0])
    items[other] = "renamed"
    with pytest.raises(InputError, match="items that the catalog lacks"):
        StoredCandidates.read(path, first.cases, users, items)


@pytest.mark.parametrize("trick", ["no target", "twice", "shorter", "null"])
def test_a_file_without_proper_candidates_is_refused(split, drawn, tmp_path, trick):
    users, items = [f"u{i}" for i in range(300)], [f"i{i:03}" for i in range(ITEMS)]
    path = tmp_path / "candidates.parquet"
    drawn.write(path, users, items)
    rows = pq.read_table(path).to_pylist()
    others = [item for item in rows[0]["candidates"] if item != rows[0]["target"]]
    stranger = next(item for item in items if item not in rows[0]["candidates"])
    rows[0]["candidates"] = {
        "no target": [*others, stranger],
        "twice": [rows[0]["target"], *others[:-1], others[0]],
        "shorter": [rows[0]["target"], *others[:-1]],
        "null": None,
    }[trick]
    pq.write_table(pa.Table.from_pylist(rows), path)
    with pytest.raises(InputError, match="different lengths, with an item twice, or without"):
        StoredCandidates.read(path, split.cases("test"), users, items)


@settings(max_examples=30)
@given(st.integers(0, 10_000), st.integers(1, 30))
def test_ranks_are_those_of_brute_force(split, drawn, seed, levels):
    """Few levels make ties; a tie's rank is the mean over the orders of the tied."""
    row = np.random.default_rng(seed).integers(levels, size=ITEMS)
    ranks = chosen_ranks(Picked(Fixed(row)), drawn)
    for rank, target, among in zip(ranks, drawn.cases.targets, drawn.candidates, strict=True):
        scores = row[among]
        first = 1 + sum(scores > row[target])
        last = first + sum(scores == row[target]) - 1
        assert rank == (first + last) / 2


def test_scoring_by_place_or_not_at_all_is_chance(split, drawn):
    hits = int((chosen_ranks(Place(-np.arange(COUNT)), drawn) <= 10).sum())
    assert binomtest(hits, len(drawn), 10 / COUNT).pvalue > 1e-3
    assert np.all(chosen_ranks(Place(np.zeros(COUNT)), drawn) == (COUNT + 1) / 2)


def test_report_has_metrics_intervals_and_differences(drawn):
    popular = np.bincount(drawn.cases.histories.items, minlength=ITEMS)
    report = direct_report(
        {"p5mm": Picked(Fixed(popular)), "popularity": Picked(Fixed(-popular))}, drawn, "test"
    )
    written = json.loads(json.dumps(report.to_json()))
    assert written["protocol"]["ranking"] == f"{COUNT} stored candidates"
    ranks = chosen_ranks(Picked(Fixed(popular)), drawn)
    for k in KS:
        gains = np.where(ranks <= k, 1 / np.log2(1 + ranks), 0.0)
        for metric, values in {f"hit@{k}": ranks <= k, f"ndcg@{k}": gains}.items():
            mean = written["models"]["p5mm"][metric]
            assert mean["value"] == pytest.approx(values.mean(), abs=0.01)  # ties share a place
            assert mean["low"] < mean["value"] < mean["high"]
    assert list(written["differences"]) == ["p5mm - popularity"]


@pytest.fixture(scope="module")
def stored(fitted, tmp_path_factory):
    path = tmp_path_factory.mktemp("direct") / "candidates.parquet"
    return stored_candidates(fitted, "test", path, count=12), path


def test_stored_candidates_serve_every_model(fitted, stored):
    first, path = stored
    before = path.read_bytes()
    again = stored_candidates(fitted, "test", path, seed=99, count=12)  # the file, not the seed
    assert np.array_equal(again.candidates, first.candidates)
    assert path.read_bytes() == before


def test_asked_is_retrieval_plus_weighted_decoder(fitted, stored):
    drawn = stored[0]
    asked = fitted.questions("direct")
    some = drawn.cases.histories.select(np.arange(7)), drawn.candidates[:7]
    decoder, retrieval = Asked.of(fitted, asked[:1], None).parts(*some)
    assert Asked.of(fitted, asked[:1], None).choose(*some) == pytest.approx(decoder)
    both = Asked.of(fitted, asked[:1], 0.5).choose(*some)
    assert both == pytest.approx(retrieval + 0.5 * decoder, abs=1e-4)
    # The retriever's part is what the retriever alone says in a full ranking.
    whole = replace(some[0], items=fitted.rows[some[0].items])
    queries = fitted.scorer.encode(whole).last
    vectors = fitted.scorer.vectors[fitted.rows[some[1]]]
    alone = torch.einsum("bd,bcd->bc", queries, vectors).numpy() / 0.0625
    assert retrieval == pytest.approx(alone, abs=1e-4)
    mean = np.mean(
        [Asked.of(fitted, [question], None).choose(*some) for question in asked[:3]], axis=0
    )
    assert Asked.of(fitted, asked[:3], None).choose(*some) == pytest.approx(mean, abs=1e-5)


def test_a_candidate_is_scored_as_if_it_were_alone(fitted, stored):
    drawn = stored[0]
    chooser = Asked.of(
        fitted,
        fitted.questions("direct")[3:],
        1.0,
    )
    histories = drawn.cases.histories.select(np.arange(3))
    whole = chooser.choose(histories, drawn.candidates[:3])
    few = chooser.choose(histories, drawn.candidates[:3, 4:6])
    assert few == pytest.approx(whole[:, 4:6], abs=1e-4)


def test_the_toy_shop_is_chosen_well(fitted, stored):
    drawn = stored[0]
    asked = fitted.questions("direct")
    seen = [question for question in asked if not question.held_out]
    weight = fit_weight(fitted, asked, drawn)
    report = direct_report(
        {
            "p5mm": Asked.of(fitted, seen, weight),
            "served": Served(fitted.scorer, fitted.rows),
            "retriever": Picked(fitted.scorer.alone().among(fitted.rows)),
        },
        drawn,
        "test",
    )
    for name in report.models:
        assert report.models[name]["hit@1"].value > 0.6, name
