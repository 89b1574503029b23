"""Texts cut to the room that they have."""

from hypothesis import given
from hypothesis import strategies as st

from p5mm.pages.text import clipped


@given(st.text(), st.integers(1, 20))
def test_clipped_is_no_longer_than_it_may_be(text, width):
    cut = clipped(text, width)
    assert cut == (text if len(text) <= width else text[: width - 1] + "…")
    assert len(cut) <= width
