"""Some rows of an index, against brute force, for every kind."""

import numpy as np
import pytest

from p5mm.retrieval.index import VectorIndex
from p5mm.retrieval.selected import Selected

N, D, K = 3000, 17, 50
KINDS = {"exact": 1.0, "ivf": 0.98, "hnsw": 0.98, "ivf-fp16": 0.98, "IVF16,SQ8": 0.97,
         "HNSW32,SQ8": 0.97, "SQ8": 0.97, "IVF16,PQ17x4fs,RFlat": 0.97}  # fmt: skip


@pytest.fixture(scope="module")
def vectors():
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(50, D))[rng.integers(50, size=N)]
    return (centres + rng.normal(size=(N, D)) / 3).astype(np.float32)


@pytest.fixture(scope="module", params=KINDS)
def index(request, vectors):
    ids = [f"i{row}" for row in range(N)]
    return request.param, VectorIndex.build(ids, vectors, request.param, queries=vectors[:200])


def best(vectors, rows, queries, k):
    """Places in ``rows`` of the largest inner products."""
    return np.argsort(-(queries @ vectors[rows].T), axis=1, kind="stable")[:, :k]


def recall(places, truth):
    return np.mean([len(set(a) & set(b)) / len(b) for a, b in zip(places, truth, strict=True)])


@pytest.mark.parametrize("share", [0.9, 0.5, 0.1, 0.03])
def test_what_is_found_is_the_best_of_the_rows_selected(index, vectors, share):
    kind, whole = index
    rows = np.flatnonzero(np.random.default_rng(1).random(N) < share)
    queries = vectors[:200]
    part = whole.among(rows)
    assert part.item_ids == tuple(f"i{row}" for row in rows)
    places, scores = part.rows_and_scores(queries, K)
    assert places.max() < len(rows)
    assert recall(places, best(vectors, rows, queries, K)) >= KINDS[kind]
    assert (np.diff(scores, axis=1) <= 0).all()
    true = np.take_along_axis(queries @ vectors[rows].T, np.maximum(places, 0), axis=1)
    np.testing.assert_allclose(np.where(places < 0, 0, scores - true), 0, atol=0.2)


def test_nothing_but_the_selected_is_found_and_never_twice(index, vectors):
    rows = np.array([5, 700, 701, 2999])
    ids, scores = index[1].among(rows).search(vectors[rows], 10)
    assert scores.shape == (4, 4)
    for row, line in zip(rows, ids, strict=True):
        assert len(set(line)) == len(line)
        assert set(line) <= {f"i{row}" for row in rows}
        # What lies in no list that is looked into may be missed; the row itself never.
        assert f"i{row}" in line


def test_all_rows_selected_are_the_whole_index(index, vectors):
    whole = index[1]
    part = whole.among(np.arange(N))
    places, rows = part.rows(vectors[:100], K), whole.rows(vectors[:100], K)
    assert recall(places, rows) > 0.99


def test_an_approximate_part_is_searched_in_place(index):
    kind, whole = index
    selected = isinstance(whole.among(np.arange(10))._index, Selected)
    assert selected == (kind != "exact")


@pytest.mark.parametrize("kind", KINDS)
def test_all_are_found_among_many_equal_vectors(vectors, kind):
    """Their graph falls apart, so a search that follows it ends before it has found them."""
    equal = vectors.copy()
    equal[: N * 2 // 3] = vectors[0]
    index = VectorIndex.build([f"i{row}" for row in range(N)], equal, kind, queries=vectors[:200])
    rows = np.sort(np.random.default_rng(2).choice(N, 30, replace=False))
    places = index.among(rows).rows(equal[::97], 30)
    assert (np.sort(places, axis=1) == np.arange(30)).all()
