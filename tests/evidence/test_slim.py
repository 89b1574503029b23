"""Regressions among neighbours, against the closed form over all items."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from p5mm.data.histories import Histories
from p5mm.evidence import slim as module
from p5mm.evidence.similarity import cooccurrence, cosine_neighbours
from p5mm.evidence.slim import RIDGE, slim

RANDOM = np.random.default_rng(0)
ITEMS = 12
LOG = Histories.from_lists([RANDOM.choice(ITEMS, 5, replace=False).tolist() for _ in range(80)])
BOTH = cooccurrence(LOG, ITEMS)
NEAR = cosine_neighbours(BOTH, 300)


def ease(gram):
    """Steck 2019, equation 8; positive weights."""
    inverse = np.linalg.inv(gram + RIDGE * np.eye(len(gram)))
    weights = -inverse / np.diag(inverse)
    np.fill_diagonal(weights, 0)
    return np.maximum(weights, 0)


def test_among_all_items_it_is_ease():
    gram = BOTH.toarray()
    assert (gram > 0).all()  # everything is near everything
    assert_allclose(slim(BOTH, NEAR).toarray(), ease(gram), atol=2 * module.LEAST)


def test_only_the_nearest_predict(monkeypatch):
    monkeypatch.setattr(module, "NEIGHBOURS", 3)
    found = slim(BOTH, NEAR).toarray()
    for item in range(ITEMS):
        near = np.argsort(-NEAR.toarray()[item], kind="stable")[:3]
        gram = BOTH.toarray()
        expected = np.linalg.solve(gram[near][:, near] + RIDGE * np.eye(3), gram[near, item])
        assert_allclose(found[near, item], np.maximum(expected, 0), atol=2 * module.LEAST)
        assert not np.delete(found[:, item], near).any()


def test_what_two_neighbours_both_say_counts_once(monkeypatch):
    monkeypatch.setattr(module, "RIDGE", 1.0)
    log = Histories.from_lists([[0, 1, 2]] * 9 + [[3, 2]] * 9)
    both = cooccurrence(log, 4)
    found = slim(both, cosine_neighbours(both, 300)).toarray()
    assert found[0, 2] == pytest.approx(found[1, 2])
    assert found[3, 2] > 1.8 * found[0, 2]


def test_an_item_without_neighbours_predicts_nothing():
    both = cooccurrence(Histories.from_lists([[0], [1]]), 3)
    found = slim(both, cosine_neighbours(both, 300))
    assert found.shape == (3, 3)
    assert found.nnz == 0
    assert found.dtype == np.float32
