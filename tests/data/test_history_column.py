from datetime import date, time

import numpy as np
import pyarrow as pa
import pytest

from p5mm.data.history_column import read_histories
from p5mm.errors import InputError


@pytest.mark.parametrize(
    ("column", "histories"),
    [
        ([["1", "2"], None, []], [["1", "2"], None, []]),
        ([[1, 2], None, []], [["1", "2"], None, []]),
        (pa.array([[1], [2]], pa.large_list(pa.uint8())), [["1"], ["2"]]),
        (pa.array([["a", "b"], None], pa.list_(pa.string(), 2)), [["a", "b"], None]),
        ([[], []], [[], []]),
        ([None, None], [None, None]),
        (['["11"]', "[1, 2]", None, "[]", ' ["a"]\n'], [["11"], ["1", "2"], None, [], ["a"]]),
    ],
)
def test_lists_of_ids(column, histories):
    assert read_histories(pa.chunked_array([column]), "users") == histories
    doubled = pa.chunked_array([column, column]).slice(1)
    assert read_histories(doubled, "users") == (histories * 2)[1:]


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (["[1]", "11"], r"the history '11' in row 2 is no list.*\[\"1\", \"2\"\]"),
        (["a b"], "the history 'a b' in row 1"),
        ([""], "the history '' in row 1"),
        (["[1.5]"], "is no list of item ids"),
        (["[true]"], "is no list of item ids"),
        (["[null]"], "is no list of item ids"),
        (["[[1]]"], "is no list of item ids"),
        (['{"a": 1}'], "is no list of item ids"),
        (["[" * 100_000], "is no list of item ids"),
        ([["a"], ["b", None], [None]], "missing in the history of rows 2, 3"),
        ([[1.5]], "of type list<.*double>; give a list"),
        ([[True]], "of type list"),
        ([[b"a"]], "of type list"),
        ([[["a"]]], "of type list"),
        ([[{"a": 1}]], "of type list"),
        ([[date(2024, 1, 1)]], "of type list"),
        ([11], "of type int64; give a list of item ids"),
        ([1.5], "of type double"),
        ([{"a": 1}], "of type struct"),
        ([b"a"], "of type binary"),
        ([date(2024, 1, 1)], "of type date32"),
        ([time(12)], "of type time64"),
        (np.array([1], "M8[s]"), "of type timestamp"),
    ],
)
def test_what_is_no_history(column, message):
    with pytest.raises(InputError, match=message):
        read_histories(pa.chunked_array([pa.array(column)]), "users")
