"""New items beyond the first page: the page stays, lists still fall, nobody else changes places."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from p5mm.ranking.places import PAGE, lifted

ROWS = st.lists(
    st.tuples(st.integers(-20, 20).map(float) | st.just(-np.inf), st.booleans()),
    min_size=1, max_size=40,
)  # fmt: skip


def listed(scores):
    return np.argsort(-scores, axis=1, kind="stable")[0].tolist()


@given(ROWS, st.floats(0.25, 30))
def test_the_page_stays_and_new_items_rise_behind_it(rows, lift):
    scores = np.array([[score for score, _ in rows]], dtype=np.float32)
    new = np.array([[is_new for _, is_new in rows]])
    found = lifted(scores, new, lift)
    before, after = listed(scores), listed(found)
    assert after[:PAGE] == before[:PAGE]
    page = before[:PAGE]
    np.testing.assert_array_equal(found[0, page], scores[0, page])
    for kind in (False, True):  # among the new, and among the others, the order stays
        assert [i for i in after if new[0, i] == kind] == [i for i in before if new[0, i] == kind]
    for i in after[PAGE:]:
        if new[0, i]:
            assert after.index(i) <= before.index(i)
    assert not np.isnan(found).any()
    assert (np.isinf(found) == np.isinf(scores)).all()


def test_without_a_lift_and_within_a_page_nothing_changes():
    scores = np.arange(12, dtype=np.float32)[None]
    new = np.ones((1, 12), dtype=np.bool_)
    assert lifted(scores, new, 0.0) is scores
    assert (lifted(scores[:, :PAGE], new[:, :PAGE], 5.0) == scores[:, :PAGE]).all()


def test_a_lift_moves_a_new_item_to_the_place_behind_the_page():
    scores = -np.arange(30, dtype=np.float32)[None]
    new = np.zeros((1, 30), dtype=np.bool_)
    new[0, 25] = True
    assert listed(lifted(scores, new, 14.5))[:13] == [*range(10), 10, 25, 11]
    assert listed(lifted(scores, new, 100.0))[:12] == [*range(10), 25, 10]
    assert lifted(scores, new, 100.0)[0, 25] < scores[0, 9]
