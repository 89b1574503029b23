"""A byte a number is off by half a step, and what is written is what is read."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from p5mm.errors import InputError
from p5mm.portable.vectors import Vectors

VALUES = st.floats(-1e3, 1e3, width=32)


@given(arrays(np.float32, (4, 3), elements=VALUES), st.booleans())
def test_rows_are_near_what_was_given(given_vectors, int8):
    made = Vectors.of(given_vectors, int8)
    rows = np.array([[3, 0], [1, 1]])
    step = np.abs(given_vectors).max(axis=1)[rows][..., None] / 127 if int8 else 0
    found = made[rows]
    assert found.dtype == np.float32
    assert found.shape == (2, 2, 3)
    assert (np.abs(found - given_vectors[rows]) <= step * 0.501 + 1e-30).all()
    again = Vectors.read(made.arrays("v"), "v", 4, int8)
    np.testing.assert_array_equal(again[rows], found)


def test_a_vector_of_zeros_stays_one():
    assert not Vectors.of(np.zeros((2, 3), np.float32), True)[np.array([0])].any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"v": np.zeros((4, 3), np.float32)}, "v is of float32"),
        ({"v": np.full((4, 3), -128, np.int8)}, "reaches from -128"),
        ({"v": np.zeros((5, 3), np.int8)}, "has shape"),
        ({"v.scale": np.full(4, np.nan, np.float32)}, "no finite number"),
        ({"v.scale": np.ones(3, np.float32)}, "v.scale has shape"),
    ],
)
def test_other_arrays_are_refused(change, message):
    made = Vectors.of(np.ones((4, 3), np.float32), True).arrays("v")
    with pytest.raises(InputError, match=message):
        Vectors.read(made | change, "v", 4, True)
