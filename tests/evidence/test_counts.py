"""What a log says of pairs of items, against plain loops."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from p5mm.data.histories import Histories
from p5mm.evidence.counts import FADING, PAIRS, WITHIN, Counts, transitions

ITEMS, KEPT = 8, 300
LOG = Histories.from_lists([[0, 1, 2], [1, 2, 3], [4, 1], [5], []])


@given(st.lists(st.lists(st.integers(0, 5), unique=True, max_size=6), min_size=1, max_size=5))
@settings(max_examples=40)
def test_transitions_are_counted_forwards_and_fade(lists):
    log = Histories.from_lists(lists)
    taken = np.bincount(log.items, minlength=6).astype(np.float32)
    expected = np.zeros((6, 6))
    for items in lists:
        for i, first in enumerate(items):
            for j, then in enumerate(items[i + 1 : i + 1 + WITHIN]):
                expected[first, then] += FADING**j / np.sqrt((taken[first] + 1) * (taken[then] + 1))
    np.testing.assert_allclose(transitions(log, taken, KEPT).toarray(), expected, atol=1e-6)


def test_only_the_strongest_transitions_are_kept():
    taken = np.bincount(LOG.items, minlength=ITEMS).astype(np.float32)
    assert np.diff(transitions(LOG, taken, 1).indptr).max() == 1


def test_counts_without_some_items_have_no_pair_of_them():
    counts, hidden = Counts.of(LOG, ITEMS, KEPT), [1, 2]
    left = counts.without(hidden)
    for name in PAIRS:
        expected = getattr(counts, name).toarray()
        assert expected[hidden].any()
        expected[hidden], expected[:, hidden] = 0, 0
        np.testing.assert_array_equal(getattr(left, name).toarray(), expected)
    assert (left.taken[hidden] == 0).all()


def test_more_items_have_nothing_counted():
    counts = Counts.of(LOG, ITEMS, KEPT)
    grown = counts.grown(ITEMS + 2)
    assert {getattr(grown, name).shape for name in PAIRS} == {(ITEMS + 2, ITEMS + 2)}
    assert grown.taken.tolist() == [*counts.taken, 0.0, 0.0]
    assert (grown.after[:ITEMS, :ITEMS] != counts.after).nnz == 0
    assert counts.together.shape == (ITEMS, ITEMS)
