"""ItemSimilarity against sums written out by hand."""

import numpy as np
import scipy.sparse as sp
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from p5mm.data.histories import Histories
from p5mm.evidence.recency import recency
from p5mm.evidence.similarity import ItemSimilarity, cooccurrence, cosine_neighbours, strongest

DECAY, KEPT = 0.5, 300
LOG = Histories.from_lists([[0, 1, 2], [1, 2], [2, 3], [4]])
ASKED = Histories.from_lists([[0, 1], [], [3]])


def test_neighbours_are_cosines_of_who_took_what():
    matrix = np.zeros((4, 5))
    for user in range(4):
        matrix[user, LOG[user]] = 1
    norms = np.linalg.norm(matrix, axis=0)
    expected = matrix.T @ matrix / np.outer(norms, norms)
    np.fill_diagonal(expected, 0)
    found = cosine_neighbours(cooccurrence(LOG, 5), KEPT).toarray()
    np.testing.assert_allclose(found, expected, atol=1e-6)
    best = cosine_neighbours(cooccurrence(LOG, 5), kept=1).toarray()
    assert ((best > 0).sum(1) <= 1).all()
    np.testing.assert_allclose(best.max(1), expected.max(1), atol=1e-6)


def test_recent_items_weigh_more():
    weights = recency(ASKED, 5, DECAY).toarray()
    np.testing.assert_allclose(weights[0], [DECAY, 1, 0, 0, 0])
    assert not weights[1].any()


def test_similarity_is_what_it_says_and_an_empty_history_has_none():
    vectors = torch.tensor([[1.0, 0], [0, 2], [3, 3], [0, 0], [-1, 0]])
    similarity = ItemSimilarity.of(
        cosine_neighbours(cooccurrence(LOG, 5), KEPT), {"text": vectors}, DECAY
    )
    assert similarity.names == ("neighbours", "content.text")
    candidates = torch.tensor([[2, 3], [0, 1], [2, 4]])
    near = similarity("neighbours", ASKED, candidates)
    dense = similarity.neighbours.toarray()
    expected = DECAY * dense[0, [2, 3]] + dense[1, [2, 3]]
    np.testing.assert_allclose(near[0], expected, atol=1e-6)
    assert not near[1].any()
    alike = similarity("content.text", ASKED, candidates)
    wanted = np.array([DECAY, 1.0]) / np.hypot(DECAY, 1.0)
    np.testing.assert_allclose(alike[0], [wanted @ [0.5**0.5, 0.5**0.5], 0], atol=1e-6)
    assert not alike[1].any()
    assert not alike[2].any()  # the one item taken has no text


def test_many_candidates_cost_less_and_are_scored_alike():
    vectors = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    similarity = ItemSimilarity.of(
        cosine_neighbours(cooccurrence(LOG, 5), KEPT), {"text": vectors}, DECAY
    )
    many = torch.arange(5).repeat(3, 10)  # beyond 8 times the catalog: by one matrix product
    few = similarity("content.text", ASKED, many[:, :5])
    torch.testing.assert_close(similarity("content.text", ASKED, many), few.repeat(1, 10))


@given(
    arrays(np.float64, (7, 9), elements=st.integers(-2, 4).map(float)),
    st.integers(1, 10),
)
def test_the_strongest_are_those_that_sorting_puts_first(values, kept):
    wanted = np.zeros_like(values)
    for row, of in enumerate(values):
        best = [column for column in np.argsort(-of, kind="stable")[:kept] if of[column] > 0]
        wanted[row, best] = of[best]
    for form in (sp.csr_matrix, sp.csc_matrix, sp.coo_matrix):
        found = strongest(form(values), kept)
        np.testing.assert_array_equal(found.toarray(), wanted)
        assert found.has_sorted_indices
