"""Ties: the order of rows, whatever the last digits say."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from p5mm.retrieval.index import VectorIndex
from p5mm.retrieval.ties import order_ties, settle


@given(st.lists(st.integers(0, 3), min_size=1, max_size=12), st.randoms())
def test_noise_moves_nothing(levels, draws):
    """Items of few levels: sorted by noisy scores, then settled, they are by level and row."""
    rows = list(range(len(levels)))
    noisy = [level + draws.random() * 1e-5 for level in levels]
    order = sorted(rows, key=lambda row: -noisy[row])
    found, scores = np.array([order]), np.array([[noisy[row] for row in order]], np.float32)
    before = scores.copy()
    settle(found, scores)
    assert found[0].tolist() == sorted(rows, key=lambda row: (-levels[row], row))
    assert (scores == before).all()


@given(st.integers(1, 6), st.integers(1, 9), st.integers(0, 1000))
def test_each_line_is_settled_by_itself(lines, length, seed):
    rng = np.random.default_rng(seed)
    scores = -np.sort(-rng.integers(0, 4, (lines, length)).astype(np.float32), axis=1)
    scores[scores == 0] = -np.inf
    rows = rng.permuted(np.tile(np.arange(length) * 3, (lines, 1)), axis=1)
    rows[np.isinf(scores)] = -1
    expected = [
        [row for _, row in sorted(zip(-score, line, strict=True))]
        for score, line in zip(scores, rows, strict=True)
    ]
    order_ties(rows, scores, 1e-6 * np.abs(scores[:, :1]))
    assert rows.tolist() == expected


def test_nothing_found_is_tied_with_nothing():
    rows = np.array([[4, 2, -1, -1]])
    scores = np.array([[1.0, 1.0, -np.inf, -np.inf]], np.float32)
    order_ties(rows, scores, 0.0)
    assert rows.tolist() == [[2, 4, -1, -1]]


def test_equal_vectors_are_found_in_row_order_at_the_end_of_a_list_too():
    rng = np.random.default_rng(0)
    vectors = np.repeat(rng.normal(size=(30, 24)), 8, axis=0).astype(np.float32)
    index = VectorIndex.build([str(n) for n in range(240)], vectors, "exact")
    queries = rng.normal(size=(50, 24)).astype(np.float32)
    for k in (3, 12, 100):
        at_once = index.rows(queries, k)
        for query, rows in zip(queries, at_once, strict=True):
            assert index.rows(query[None], k)[0].tolist() == rows.tolist()
            groups = rows // 8
            assert all(a < b for a, b, i, j in zip(rows, rows[1:], groups, groups[1:],
                                                   strict=False) if i == j)  # fmt: skip
            assert rows[-1] % 8 == (k - 1) % 8  # the first of its equals
