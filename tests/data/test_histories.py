"""Histories in one flat array, beside plain lists."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from p5mm.data.histories import Histories

LISTS = st.lists(st.lists(st.integers(0, 9), max_size=8), max_size=6)


@given(LISTS, st.sets(st.integers(0, 9)))
def test_items_left_out(lists, left_out):
    histories = Histories.from_lists(lists)
    rated = Histories(histories.items, histories.offsets, histories.items.astype(np.float32))
    found = rated.without(np.isin(np.arange(10), list(left_out)))
    assert len(found) == len(lists)
    for user, items in enumerate(lists):
        assert found[user].tolist() == [item for item in items if item not in left_out]
    np.testing.assert_array_equal(found.ratings, found.items)
    assert histories.without(np.zeros(10, bool)).ratings is None


@given(LISTS, st.integers(0, 9))
def test_first_and_last_items(lists, n):
    histories = Histories.from_lists(lists)
    count = np.minimum(histories.lengths, n)
    first, last, rest = histories.head(count), histories.tail(count), histories.without_last(n)
    for user, items in enumerate(lists):
        assert first[user].tolist() == items[:n]
        assert last[user].tolist() == (items[-n:] if n else [])
        assert rest[user].tolist() == items[: max(0, len(items) - n)]
