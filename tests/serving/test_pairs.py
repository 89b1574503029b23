"""Pairs that are to be scored, in every form a row may have."""

from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

from p5mm.data.histories import Histories
from p5mm.data.tables import arrow_table, with_known_names
from p5mm.errors import InputError
from p5mm.serving.pairs import COLUMNS, Pairs

ITEMS = {str(n): n for n in range(20)}
LOG = {"u": [7, 8], "v": [9], "1": [3]}


def model():
    known = Histories.from_lists([LOG[user] for user in LOG])
    rated = Histories(known.items, known.offsets, np.full(len(known.items), 4, np.float32))
    return SimpleNamespace(
        catalog=SimpleNamespace(rows=ITEMS),
        offered=ITEMS,
        user_rows={user: row for row, user in enumerate(LOG)},
        histories=rated,
    )


def read(table):
    plain = with_known_names(arrow_table(table, "pairs"), "pairs", COLUMNS)
    return Pairs.of(plain, model(), strict=True)


def asked(table):
    """History and item of each row."""
    pairs = read(table)
    rows = zip(pairs.asker, pairs.items, strict=True)
    return [(pairs.histories[asker].tolist(), int(item)) for asker, item in rows]


def test_a_row_without_a_history_has_that_of_the_log():
    table = {
        "user_id": ["u", "v", "v", None, "u"],
        "history": [None, ["1", "2"], [], ["3"], None],
        "item_id": ["1", "2", "3", "4", "5"],
    }
    assert asked(table) == [([7, 8], 1), ([1, 2], 2), ([], 3), ([3], 4), ([7, 8], 5)]
    pairs = read(table)
    rated = dict(zip(pairs.histories.items.tolist(), pairs.histories.ratings.tolist(), strict=True))
    assert rated[7] == 4
    assert np.isnan(rated[1])


def test_users_are_asked_once():
    pairs = read({"user_id": ["u", "v", "u"], "item_id": [1, 2, 3]})
    assert pairs.asker.tolist() == [0, 1, 0]
    assert len(pairs.histories) == 2


@pytest.mark.parametrize(
    "history", [[["11", "1"]], [[11, 1]], ['["11", "1"]'], ["[11, 1]"]], ids=str
)
def test_histories_are_lists_not_letters(history):
    assert asked({"history": history, "item_id": ["2"]}) == [([11, 1], 2)]


def test_frames_and_known_names_are_taken():
    polars = pytest.importorskip("polars")
    pandas = pytest.importorskip("pandas")
    for frame in (polars.DataFrame, pandas.DataFrame):
        assert asked(frame({"userId": ["u", "v"], "movieId": [1, 2]})) == [([7, 8], 1), ([9], 2)]
        mixed = frame({"user": ["u", "v"], "history": [None, ["5"]], "item": ["1", "2"]})
        assert asked(mixed) == [([7, 8], 1), ([5], 2)]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"history": ["11"], "item_id": ["1"]}, "the history '11' in row 1 is no list"),
        ({"history": [11], "item_id": ["1"]}, "'history' is of type int64"),
        ({"history": [["1"], None], "item_id": ["1", "2"]}, "no 'history' in row 2, and no column"),
        (
            {"user_id": ["u", None], "history": [["1"], None], "item_id": ["1", "2"]},
            "row 2 has no user_id",
        ),
        ({"user_id": ["u", None], "item_id": ["1", "2"]}, "row 2 has no user_id"),
        ({"user_id": ["u"], "item_id": [["1"]]}, "ids are strings or integers"),
        ({"user_id": [b"u"], "item_id": ["1"]}, "ids are strings or integers"),
        ({"item_id": ["1"]}, "no column 'user_id'"),
    ],
)
def test_pairs_that_cannot_be_read(columns, message):
    with pytest.raises(InputError, match=message):
        asked(pa.table(columns))
