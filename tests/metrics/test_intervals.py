import time
from dataclasses import astuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p5mm.errors import InputError
from p5mm.metrics.intervals import interval, intervals, paired


@given(values=st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30), seed=st.integers(0, 99))
@settings(max_examples=50)
def test_the_value_lies_within(values: list[float], seed: int) -> None:
    estimate = interval(np.array(values), seed=seed, draws=20)
    assert estimate.low <= estimate.value <= estimate.high
    assert estimate.value == pytest.approx(np.mean(values), abs=1e-6)


def test_covers_the_true_mean_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    samples = (rng.random((200, 300)) < 0.1).astype(float)
    covered = 0
    for column in range(300):
        estimate = interval(samples[:, column], seed=column, draws=300)
        covered += estimate.low <= 0.1 <= estimate.high
    assert 0.89 <= covered / 300 <= 0.98


def test_agrees_with_the_normal_interval() -> None:
    values = np.random.default_rng(1).normal(size=4000)
    estimate = interval(values)
    half = 1.96 * values.std() / np.sqrt(len(values))
    assert estimate.high - estimate.low == pytest.approx(2 * half, rel=0.1)


def test_pairing_narrows_the_interval() -> None:
    rng = np.random.default_rng(2)
    base = rng.random(2000)
    better = base + 0.01 + rng.normal(scale=0.01, size=2000)
    difference = paired(better, base)
    assert difference.low > 0
    assert difference.high - difference.low < interval(base).high - interval(base).low


def test_a_seed_fixes_the_interval_whatever_stands_beside_it() -> None:
    values = np.random.default_rng(3).random((500, 3))
    beside, alone = intervals(values, seed=4)[1], interval(values[:, 1], seed=4)
    assert astuple(beside) == pytest.approx(astuple(alone))
    assert interval(values[:, 0], seed=4) != interval(values[:, 0], seed=5)


def test_many_users_are_quick() -> None:
    values = np.random.default_rng(0).random((22_363, 10))
    started = time.process_time()
    intervals(values)
    assert time.process_time() - started < 3.0  # measured below 1 s; room for a loaded machine


def test_refuses_what_has_no_mean() -> None:
    with pytest.raises(InputError, match="at least one user"):
        interval(np.empty(0))
    with pytest.raises(InputError, match="finite"):
        interval(np.array([1.0, np.nan]))
    with pytest.raises(InputError, match="same users"):
        paired(np.zeros(3), np.zeros(4))
