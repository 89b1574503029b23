"""Ratings of held-out items: cases of the one split, baselines that find planted biases, errors."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p5mm.baselines.base import fit_once
from p5mm.baselines.biased_mf import BiasedMF
from p5mm.baselines.rating_means import GlobalMean, ItemMean, RecentBiases
from p5mm.data.histories import Histories
from p5mm.data.split import LeaveOneOut
from p5mm.errors import InputError
from p5mm.evaluation.ratings import AskedRating, Calibrated
from p5mm.metrics.intervals import paired
from p5mm.metrics.rating_errors import RatingCases, known_ratings, rating_report, rmse
from p5mm.model.prompts import read_prompts
from p5mm.training.task_objective import make_tasks

USERS, ITEMS, MEAN = 300, 40, 3.5


class Said:
    """Predicts what it was told, whoever asks."""

    def __init__(self, values: np.ndarray) -> None:
        self.values = values

    def predict(self, histories: Histories, targets: np.ndarray) -> np.ndarray:
        return self.values


def raters(noise: float = 0.2, taste: float = 0.0, seed: int = 0):
    """A log rated with planted biases (and a planted taste); returns it with the truth."""
    rng = np.random.default_rng(seed)
    users, items = rng.normal(0, 0.7, USERS), rng.normal(0, 0.5, ITEMS)
    likes, traits = rng.normal(size=USERS), rng.normal(size=ITEMS)
    lists = [rng.choice(ITEMS, rng.integers(15, 30), replace=False) for _ in range(USERS)]
    log = Histories.from_lists(lists)
    who = np.repeat(np.arange(USERS), log.lengths)
    ratings = MEAN + users[who] + items[log.items] + taste * likes[who] * traits[log.items]
    ratings = (ratings + rng.normal(0, noise, len(who))).astype(np.float32)
    return LeaveOneOut(Histories(log.items, log.offsets, ratings)), users, items


@pytest.fixture(scope="module")
def planted():
    return raters()


@pytest.fixture(scope="module")
def biased(planted) -> BiasedMF:
    model = BiasedMF(factors=(2,), penalties=(50.0,), bias_penalties=(0.5,), rounds=8)
    model.fit(planted[0], ITEMS)
    return model


def test_recent_biases_find_planted_ones_and_follow_a_change_of_mood():
    split, _, _ = raters(noise=0.1)
    model, still = RecentBiases(), GlobalMean()
    for baseline in (model, still):
        baseline.fit(split, ITEMS)
    cases = RatingCases.of(split, "test")
    asked = cases.histories, cases.targets
    assert rmse(model.predict(*asked), cases.ratings) < 0.5 * rmse(
        still.predict(*asked), cases.ratings
    )
    history = cases.histories.select(np.zeros(2, np.int64))
    ratings = history.ratings.copy()
    ratings[history.offsets[2] - 5 :] += 1.0  # the same user, twice; the second in a better mood
    calm, merry = model.predict(replace(history, ratings=ratings), cases.targets[[0, 0]])
    assert 0.2 < merry - calm < 1.0


def test_cases_are_those_of_the_split_with_what_their_targets_were_rated_with(planted):
    split = planted[0]
    for part, back in (("valid", 2), ("test", 1)):
        cases, asked = split.cases(part), RatingCases.of(split, part)
        assert np.array_equal(asked.targets, cases.targets)
        assert np.array_equal(asked.histories.items, cases.histories.items)
        last = [split.log.ratings[stop - back] for stop in split.log.offsets[1:]]
        assert asked.ratings.tolist() == pytest.approx(last)


def test_the_history_of_a_test_case_ends_with_the_rated_validation_item(planted):
    split = planted[0]
    valid, test = RatingCases.of(split, "valid"), RatingCases.of(split, "test")
    ends = test.histories.offsets[1:] - 1
    assert np.array_equal(test.histories.items[ends], valid.targets)
    assert test.histories.ratings[ends].tolist() == pytest.approx(valid.ratings)


def test_targets_without_a_rating_are_left_out():
    log = Histories.from_lists([[0, 1, 2], [2, 1, 0], [1, 0, 2]])
    ratings = np.array([1, 2, np.nan, 3, 4, 5, 1, np.nan, 2], dtype=np.float32)
    split = LeaveOneOut(Histories(log.items, log.offsets, ratings))
    test, valid = RatingCases.of(split, "test"), RatingCases.of(split, "valid")
    assert test.ratings.tolist() == [5, 2]
    assert valid.ratings.tolist() == [2, 4]
    assert valid.cases.users.tolist() == [0, 1]
    with pytest.raises(InputError, match="the log has no ratings"):
        RatingCases.of(LeaveOneOut(log), "test")


def test_errors_are_those_of_scikit_learn(planted):
    metrics = pytest.importorskip("sklearn.metrics")
    cases = RatingCases.of(planted[0], "test")
    rng = np.random.default_rng(1)
    said = {name: rng.normal(3, 1, len(cases.ratings)) for name in ("a", "b")}
    report = rating_report({name: Said(v) for name, v in said.items()}, cases, "test")
    for name, values in said.items():
        square = metrics.mean_squared_error(cases.ratings, values)
        assert rmse(values, cases.ratings) == pytest.approx(square**0.5)
        assert report.models[name]["rmse"].value == pytest.approx(square**0.5)
        size = metrics.mean_absolute_error(cases.ratings, values)
        assert report.models[name]["mae"].value == pytest.approx(size)
        for mean in report.models[name].values():
            assert mean.low < mean.value < mean.high


def test_differences_are_paired(planted):
    cases = RatingCases.of(planted[0], "test")
    noise = np.random.default_rng(1).normal(0, 1, len(cases.ratings))
    good, bad = cases.ratings + noise, cases.ratings + 1.05 * noise
    report = rating_report({"good": Said(good), "bad": Said(bad)}, cases, "test")
    differences = report.differences("good")
    assert list(differences) == ["good - bad"]
    expected = rmse(good, cases.ratings) - rmse(bad, cases.ratings)
    difference = differences["good - bad"]["rmse"]
    assert difference.value == pytest.approx(expected)
    # Each model alone is uncertain by far more than the two differ, but never the wrong way round.
    assert difference.low < difference.value < difference.high < 0
    own = report.models["good"]["rmse"]
    assert own.high - own.low > 3 * (difference.high - difference.low)
    size = paired(abs(noise), 1.05 * abs(noise))
    assert differences["good - bad"]["mae"].to_json() == pytest.approx(size.to_json())


def test_global_mean_and_item_mean(planted):
    split = planted[0]
    users, items, ratings = known_ratings(split.train)
    assert len(users) == len(split.train.items)
    mean = GlobalMean()
    mean.fit(split, ITEMS)
    cases = RatingCases.of(split, "test")
    assert mean.predict(cases.histories, cases.targets) == pytest.approx(ratings.mean())
    plain = ItemMean(shrinks=(0.0,))
    plain.fit(split, ITEMS)
    expected = [ratings[items == item].mean() for item in cases.targets]
    assert plain.predict(cases.histories, cases.targets).tolist() == pytest.approx(expected)
    flat = ItemMean(shrinks=(1e12,))
    flat.fit(split, ITEMS)
    assert flat.predict(cases.histories, cases.targets) == pytest.approx(ratings.mean())


def test_an_item_that_nobody_rated_gets_the_mean(planted):
    for model in (ItemMean(), BiasedMF(factors=(2,), penalties=(50.0,), rounds=2)):
        model.fit(planted[0], ITEMS + 1)
        history = Histories.from_lists([[]])
        ratings = model.predict(history, np.array([ITEMS]))
        assert ratings[0] == pytest.approx(known_ratings(planted[0].train)[2].mean())


def test_biased_mf_recovers_planted_biases(planted, biased):
    split, users, items = planted
    # The truth has no fixed zero: a shift of all users against all items changes no rating.
    learned = biased.items[:, 0] - biased.items[:, 0].mean()
    assert np.abs(learned - (items - items.mean())).max() < 0.15
    blank = np.zeros(USERS, dtype=np.int64)
    asked = biased.predict(split.train, blank) - biased.predict(
        Histories.from_lists([[]]), blank[:1]
    )
    assert np.corrcoef(asked, users)[0, 1] > 0.98
    cases = RatingCases.of(split, "test")
    assert rmse(biased.predict(cases.histories, cases.targets), cases.ratings) < 0.3


def test_biased_mf_finds_a_taste_that_biases_cannot_tell():
    split, _, _ = raters(taste=0.8)
    cases = RatingCases.of(split, "test")

    def error(penalty: float) -> float:
        model = BiasedMF(factors=(2,), penalties=(penalty,), bias_penalties=(0.5,))
        model.fit(split, ITEMS)
        return rmse(model.predict(cases.histories, cases.targets), cases.ratings)

    assert error(0.5) < 0.5 < 0.7 < error(1e6)


def test_biased_mf_reads_no_test_rating(planted, biased):
    split = planted[0]
    changed = split.log.ratings.copy()
    changed[split.log.offsets[1:] - 1] = 1.0
    other = LeaveOneOut(Histories(split.log.items, split.log.offsets, changed))
    again = BiasedMF(factors=(2,), penalties=(50.0,), bias_penalties=(0.5,), rounds=8)
    again.fit(other, ITEMS)
    assert np.array_equal(again.items, biased.items)


@settings(max_examples=25)
@given(st.permutations(range(12)))
def test_biased_mf_cares_neither_for_the_order_of_a_history_nor_for_its_company(
    planted, biased, order
):
    split = planted[0]
    first = split.train.select(np.array([0]))
    kept = first.head(np.array([12]))
    turned = Histories(kept.items[order], kept.offsets, kept.ratings[order])
    target = np.array([3])
    alone = biased.predict(kept, target)[0]
    assert biased.predict(turned, target)[0] == pytest.approx(alone)
    together = split.train.select(np.array([5, 9])), np.array([3, 3])
    both = Histories(
        np.concatenate([kept.items, together[0].items]),
        np.concatenate([kept.offsets, together[0].offsets[1:] + len(kept.items)]),
        np.concatenate([kept.ratings, together[0].ratings]),
    )
    assert biased.predict(both, np.array([3, 3, 3]))[0] == pytest.approx(alone)


def test_calibration_puts_a_bent_model_straight(planted):
    cases = RatingCases.of(planted[0], "valid")
    bent = Calibrated.of(Said(2.0 * cases.ratings - 4.0), cases)
    assert (bent.offset, bent.slope) == pytest.approx((2.0, 0.5))
    assert bent.predict(cases.histories, cases.targets) == pytest.approx(cases.ratings)


def test_a_model_answers_within_its_scale_and_each_user_alone(fitted):
    cases = RatingCases.of(fitted.split, "test")
    asked = fitted.questions("rating")
    model = AskedRating.of(fitted, asked)
    ratings = model.predict(cases.histories, cases.targets)
    assert ratings.shape == cases.ratings.shape
    low, high = min(fitted.fitted.levels), max(fitted.fitted.levels)
    assert (low <= ratings).all()
    assert (ratings <= high).all()
    single = cases.cases.take(np.array([4]))
    assert model.predict(single.histories, single.targets)[0] == pytest.approx(ratings[4], abs=1e-4)
    parts = [AskedRating.of(fitted, [q]).predict(cases.histories, cases.targets) for q in asked]
    assert ratings == pytest.approx(np.mean(parts, axis=0))


def test_a_model_has_learned_what_the_toy_shop_rates_high(fitted):
    """The first half of each ring has five stars, the second two: the item tells all."""
    cases = RatingCases.of(fitted.split, "test")
    seen = [question for question in fitted.questions("rating") if not question.held_out]
    plain = GlobalMean()
    plain.fit(fitted.split, len(fitted.rows))
    asked = AskedRating.of(fitted, seen).predict(cases.histories, cases.targets)
    base = rmse(plain.predict(cases.histories, cases.targets), cases.ratings)
    assert rmse(asked, cases.ratings) < 0.9 * base


@pytest.mark.parametrize("family", ["sequential", "direct", "rating"])
def test_held_out_prompts_are_none_of_those_that_are_trained_with(fitted, family):
    prompts = read_prompts()
    tasks = make_tasks(fitted.config, prompts, fitted.tokenizer, fitted.fitted.levels)
    trained = {tuple(prompt) for task in tasks for prompt in task.prompts}
    asked = fitted.questions(family)
    assert [question.held_out for question in asked] == [False] * 3 + [True]
    for question in asked:
        assert (question.tokens in trained) is not question.held_out


def test_biased_mf_comes_back_from_disk_the_same_and_only_for_its_ratings(planted, tmp_path):
    split, path = planted[0], tmp_path / "biased-mf.safetensors"
    cases = RatingCases.of(split, "test")

    def model():
        return BiasedMF(factors=(2,), penalties=(50.0,), bias_penalties=(0.5,), rounds=1)

    first, again, other = model(), model(), model()
    fit_once(first, split, ITEMS, path)
    written = path.read_bytes()
    fit_once(again, split, ITEMS, path)
    assert path.read_bytes() == written
    assert first.n_items() == again.n_items() == ITEMS
    asked = cases.histories, cases.targets
    assert np.array_equal(first.predict(*asked), again.predict(*asked))
    ratings = split.log.ratings.copy()
    ratings[0] += 1.0
    rated = LeaveOneOut(Histories(split.log.items, split.log.offsets, ratings))
    fit_once(other, rated, ITEMS, path)
    assert path.read_bytes() != written
    assert not np.array_equal(other.items, first.items)


@pytest.mark.parametrize("name", ["items", "ridge", "mean"])
def test_biased_mf_takes_no_arrays_that_do_not_agree(biased, name):
    with pytest.raises(ValueError, match="do not agree"):
        BiasedMF().restore(biased.arrays() | {name: np.zeros((3, 1))})
