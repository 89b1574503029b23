"""Factors of items, against a dense decomposition."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from p5mm.data.histories import Histories
from p5mm.ranking import factors as module
from p5mm.ranking.factors import factors

RANDOM = np.random.default_rng(0)
ITEMS = 40
LOG = Histories.from_lists(
    [RANDOM.choice(ITEMS - 1, 6, replace=False).tolist() for _ in range(60)]
)  # the last item is taken by nobody


def dense(size):
    taken = np.zeros((len(LOG), ITEMS))
    for user in range(len(LOG)):
        taken[user, LOG[user]] = 1
    degree = np.maximum(taken.sum(0), 1)
    _, values, vectors = np.linalg.svd(taken / np.sqrt(6) / np.sqrt(degree), full_matrices=False)
    vectors = vectors[:size].T[:, values[:size] > 1e-6]
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)


@pytest.mark.parametrize("whole", [True, False])
def test_cosines_are_those_of_the_largest_singular_vectors(monkeypatch, whole):
    monkeypatch.setattr(module, "SIZE", 5)
    monkeypatch.setattr(module, "DENSE", 100 if whole else 10)
    found, expected = factors(LOG, ITEMS), dense(5)
    assert found.shape == (ITEMS, 5)
    assert found.dtype == np.float32
    assert_allclose(found @ found.T, expected @ expected.T, atol=1e-5)


def test_an_item_is_of_unit_length_or_unknown():
    lengths = np.linalg.norm(factors(LOG, ITEMS), axis=1)
    assert_allclose(lengths[:-1], 1, rtol=1e-5)
    assert lengths[-1] == 0


def test_no_direction_comes_from_nothing():
    """Two groups of users with nothing in common: two directions, however many were allowed."""
    found = factors(Histories.from_lists([[0, 1], [0, 1], [2, 3, 4], [2, 3, 4]]), 6)
    alike = np.zeros((6, 6))
    alike[:2, :2], alike[2:5, 2:5] = 1, 1
    assert_allclose(found @ found.T, alike, atol=1e-5)


def test_it_is_the_same_again():
    assert_array_equal(factors(LOG, ITEMS), factors(LOG, ITEMS))


@pytest.mark.parametrize("lists", [[[0]], [[0], [1]], [[0, 1, 2]], [[], [1]]])
def test_logs_of_next_to_nothing(lists):
    found = factors(Histories.from_lists(lists), 4)
    assert np.isfinite(found).all()
    assert_allclose((found**2).sum(1), [float(any(i in t for t in lists)) for i in range(4)])
