"""Several indexes searched as one give what one index of all vectors gives."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p5mm.retrieval.index import VectorIndex

D = 5


def parts_of(sizes, seed=0, kind="exact"):
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(sum(sizes), D)).astype(np.float32)
    ids = [f"i{row}" for row in range(len(vectors))]
    bounds = np.cumsum([0, *sizes])
    parts = [
        VectorIndex.build(ids[low:high], vectors[low:high], kind) for low, high in pairwise(bounds)
    ]
    queries = rng.normal(size=(7, D)).astype(np.float32)
    return VectorIndex.joined(parts), VectorIndex.build(ids, vectors, "exact"), queries


@settings(max_examples=60)
@given(st.lists(st.integers(1, 20), min_size=1, max_size=5), st.integers(1, 60), st.integers(0, 99))
def test_the_best_of_all(sizes, k, seed):
    several, whole, queries = parts_of(sizes, seed)
    assert several.item_ids == whole.item_ids
    assert several.search(queries, k)[0] == whole.search(queries, k)[0]
    np.testing.assert_allclose(
        several.search(queries, k)[1], whole.search(queries, k)[1], rtol=1e-5, atol=1e-6
    )


@settings(max_examples=60)
@given(st.data())
def test_the_best_of_some(data):
    several, whole, queries = parts_of([4, 1, 9, 6], data.draw(st.integers(0, 99)))
    for _ in range(2):  # some of some, too
        rows = np.flatnonzero(data.draw(st.lists(st.booleans(), min_size=20, max_size=20)))
        rows = rows[rows < len(whole)]
        several, whole = several.among(rows), whole.among(rows)
        assert several.item_ids == whole.item_ids
        assert several.search(queries, 8)[0] == whole.search(queries, 8)[0]


def test_equal_scores_stand_in_the_order_of_rows():
    ones = [VectorIndex.build([name], np.ones((1, D), np.float32)) for name in "cab"]
    joined = VectorIndex.joined(ones)
    assert joined.search(np.ones((1, D), np.float32), 3)[0] == [["c", "a", "b"]]


def test_an_approximate_and_an_exact_part():
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(3000, D)).astype(np.float32)
    ids = [str(row) for row in range(3000)]
    joined = VectorIndex.joined(
        [
            VectorIndex.build(ids[:2900], vectors[:2900], "ivf"),
            VectorIndex.build(ids[2900:], vectors[2900:]),
        ]
    )
    whole = VectorIndex.build(ids, vectors)
    some = np.arange(0, 3000, 2)
    for one, other in ((joined, whole), (joined.among(some), whole.among(some))):
        pairs = zip(one.search(vectors[:50], 10)[0], other.search(vectors[:50], 10)[0], strict=True)
        assert np.mean([len(set(a) & set(b)) / 10 for a, b in pairs]) > 0.9
    assert joined.factory.endswith(",Flat + Flat")


def test_one_part_is_what_it_is():
    index = VectorIndex.build(["a"], np.ones((1, D), np.float32))
    assert VectorIndex.joined([index]) is index
    assert index.is_one
    assert not VectorIndex.joined([index, index.among(np.array([0]))]).is_one
    with pytest.raises(ValueError, match="k is 0"):
        VectorIndex.joined([index, index]).search(np.ones((1, D), np.float32), 0)
