import datetime as dt
import os
from collections import Counter, defaultdict
from datetime import date, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from p5mm.data.interactions import Interactions
from p5mm.errors import InputError

DATA = Path(os.environ.get("P5MM_DATA", Path(__file__).parents[2] / "shared" / "data")) / "ml-100k"
EVENTS = st.lists(
    st.tuples(st.sampled_from("abcde"), st.sampled_from("stuvwxyz"), st.integers(0, 6)),
    min_size=1,
    max_size=60,
)


def naive_histories(events, item_ids):
    """By dictionaries: known items in order of time, the first of repeats."""
    by_user = defaultdict(list)
    for user, item, time in events:
        by_user[user].append((time, item))
    histories = {}
    for user, taken in by_user.items():
        items = [item for _, item in sorted(taken, key=lambda pair: pair[0])]
        items = [item for item in dict.fromkeys(items) if item in item_ids]
        if items:
            histories[user] = items
    return histories


@given(events=EVENTS)
def test_histories_are_those_of_dictionaries(events):
    item_ids = list("zyxwv")
    wanted = naive_histories(events, item_ids)
    log = Interactions.from_rows(events)
    users, histories = log.histories(item_ids)
    got = {u: [item_ids[i] for i in histories[n]] for n, u in enumerate(users)}
    assert got == wanted
    assert users == list(wanted)
    dropped = log.dropped(item_ids)
    assert dropped.unknown == sum(item not in item_ids for _, item, _ in events)
    assert dropped.unknown + dropped.repeats + len(histories.items) == len(events)
    assert dropped.users == len({u for u, _, _ in events}) - len(users)


@given(events=EVENTS, k=st.integers(2, 4))
def test_the_core_is_the_largest_fixpoint(events, k):
    rest = events
    while True:
        users, items = Counter(e[0] for e in rest), Counter(e[1] for e in rest)
        smaller = [e for e in rest if users[e[0]] >= k and items[e[1]] >= k]
        if len(smaller) == len(rest):
            break
        rest = smaller
    log = Interactions.from_rows(events)
    if not rest:
        with pytest.raises(InputError, match="smaller k_core"):
            log.core(k)
        return
    core = log.core(k)
    assert sorted(tuple(row.values()) for row in core.table.to_pylist()) == sorted(rest)
    assert core.core(k) is core


def test_order_is_by_first_appearance_and_time_and_ties_stay():
    rows = [("z", "i", 2), ("a", "j", 5), ("z", "k", 1), ("z", "h", 2), ("a", "i", 5)]
    log = Interactions.from_rows(rows)
    assert log.user_ids == ["z", "a"]
    assert log.table["item_id"].to_pylist() == ["k", "i", "h", "j", "i"]


def test_without_timestamps_the_order_of_rows_is_the_order():
    log = Interactions.from_rows([("u", "c"), ("v", "a"), ("u", "b")])
    assert log.table["item_id"].to_pylist() == ["c", "b", "a"]
    assert log.table["timestamp"].to_pylist() == [0, 2, 1]


@pytest.mark.parametrize(
    ("times", "wanted"),
    [
        ([3, 1], [3, 1]),
        ([2**53 + 1, 2**53], [2**53 + 1, 2**53]),
        ([0.5, 0.25], [0.5, 0.25]),
        (["1970-01-02", "1970-01-01"], [86400, 0]),
        (["1970-01-01T00:00:02Z", "1970-01-01 00:00:01Z"], [2, 1]),
        (["1970-01-01T01:00:00+01:00", "1969-12-31"], [0, -86400]),
        (["5", "1970-01-01"], [5, 0]),
        ([datetime(1970, 1, 1, 0, 0, 1, 500000), datetime(1970, 1, 1)], [1.5, 0]),
        ([date(1970, 1, 2), date(1970, 1, 1)], [86400, 0]),
    ],
)
def test_times_in_every_form(times, wanted):
    table = pa.table({"user_id": ["u", "v"], "item_id": ["i", "i"], "timestamp": times})
    assert Interactions.from_table(table).table["timestamp"].to_pylist() == wanted


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("timestamp", ["1", "yesterday"], "'yesterday' in row 2 is neither"),
        ("timestamp", [1.0, float("nan")], "not a number in row 2"),
        ("timestamp", [None, 1], "not a number in row 1"),
        ("timestamp", [None, None], "give numbers or ISO dates"),
        ("timestamp", [True, False], "give numbers or ISO dates"),
        ("timestamp", [dt.time(12), dt.time(13)], "is time64.*; give dates and times"),
        ("timestamp", pa.array([2**64 - 1, 0], pa.uint64()), "beyond 64 bits"),
        ("timestamp", [[1], [2]], "give numbers or ISO dates"),
        ("rating", [[1], [2]], "'rating' is list<.*; give numbers"),
        ("review", [[1], [2]], "'review' is of type list"),
        ("review", [{"a": 1}, None], "'review' is of type struct"),
        ("item_id", [date(2024, 1, 1), date(2024, 1, 2)], "ids are strings or integers"),
        ("item_id", [b"a", b"b"], "ids are strings or integers"),
        ("rating", ["5", "good"], "'good' in row 2 is no number"),
        ("user_id", ["u", None], "row 2 has no user_id"),
        ("item_id", ["", "i"], "row 1 has no item_id"),
    ],
)
def test_bad_values_are_named_with_their_row(column, values, message):
    columns = {"user_id": ["u", "v"], "item_id": ["i", "j"], "timestamp": [1, 2], column: values}
    with pytest.raises(InputError, match=message):
        Interactions.from_table(pa.table(columns))


def test_missing_columns_and_empty_logs():
    with pytest.raises(InputError, match=r"no column 'user_id'.*Rename 'usr_id'"):
        Interactions.from_table(pa.table({"usr_id": ["u"], "item_id": ["i"]}))
    with pytest.raises(InputError, match="is empty"):
        Interactions.from_table(pa.table({"user_id": pa.array([], "string"), "item_id": []}))


def test_ratings_stand_by_their_items():
    log = Interactions.from_rows([("u", "b", 2, 4.0), ("u", "a", 1, None), ("u", "c", 3, 1.0)])
    _, histories = log.histories(["a", "b"])
    np.testing.assert_array_equal(histories.ratings, np.array([np.nan, 4], np.float32))
    assert histories.items.tolist() == [0, 1]


def test_what_is_left_out_is_said(caplog):
    log = Interactions.from_rows([("u", "a", 1), ("u", "a", 2), ("v", "x", 1)])
    assert log.histories(["a"])[0] == ["u"]
    assert "1 interaction with 1 item not in the catalog, 1 repeat of" in caplog.text
    with pytest.raises(InputError, match="no item of the log is in the catalog"):
        log.known(["7"])


def test_texts_are_kept_and_other_columns_are_not():
    table = pa.table({"user_id": ["u"], "item_id": ["i"], "review": ["fine"], "shop": ["x"]})
    names = Interactions.from_table(table).table.column_names
    assert names == ["user_id", "item_id", "timestamp", "review"]


@pytest.mark.real
@pytest.mark.skipif(not DATA.is_dir(), reason="no shared data")
def test_the_5_core_of_movielens_is_openp5s():
    from p5mm.config import DataConfig
    from p5mm.data.dataset import open_dataset

    core = open_dataset(DataConfig(str(DATA), k_core=5)).interactions
    assert (len(core.user_ids), len(core.item_ids), len(core)) == (943, 1349, 99287)
    config = DataConfig(str(DATA), reader="sequences", interactions="openp5_sequences.txt")
    published = open_dataset(config).interactions
    times = {(r["user_id"], r["item_id"]): r["timestamp"] for r in core.table.to_pylist()}
    ours, theirs = (dict(_lists(log)) for log in (core, published))
    assert ours.keys() == theirs.keys()
    for user, items in theirs.items():  # equal but for the order within one second
        assert set(items) == set(ours[user])
        assert [times[user, i] for i in items] == [times[user, i] for i in ours[user]]


def _lists(log):
    item_ids = log.item_ids
    users, histories = log.histories(item_ids)
    for row, user in enumerate(users):
        yield user, [item_ids[i] for i in histories[row]]


# Ties


@given(
    st.lists(
        st.tuples(st.sampled_from("uvw"), st.integers(0, 9), st.integers(0, 2)),
        min_size=1, max_size=40,
    ),
    st.integers(0, 5),
)  # fmt: skip
def test_shuffled_ties_move_nothing_but_ties(events, seed):
    log = Interactions.from_rows([(user, str(item), time) for user, item, time in events])
    places = [(row["user_id"], row["timestamp"]) for row in log.table.to_pylist()]
    if len(set(places)) == len(places):
        with pytest.raises(InputError, match="no ties to shuffle"):
            log.shuffled_ties(seed)
        return
    shuffled = log.shuffled_ties(seed)
    assert [(r["user_id"], r["timestamp"]) for r in shuffled.table.to_pylist()] == places
    rows = [sorted(map(str, events.table.to_pylist())) for events in (log, shuffled)]
    assert rows[0] == rows[1]
    assert shuffled.user_ids == log.user_ids
    assert shuffled.table.equals(log.shuffled_ties(seed).table)


def test_every_order_of_ties_is_as_likely():
    log = Interactions.from_rows([("u", "a", 1), ("u", "b", 1), ("u", "c", 1), ("u", "d", 2)])
    orders = Counter(
        "".join(log.shuffled_ties(seed).table["item_id"].to_pylist()) for seed in range(600)
    )
    assert len(orders) == 6
    assert all(order.endswith("d") and 60 < times < 145 for order, times in orders.items())


def test_ratings_go_with_their_items_in_a_shuffle():
    log = Interactions.from_rows([("u", str(i), 0, float(i)) for i in range(20)]).shuffled_ties(1)
    items = log.table["item_id"].to_pylist()
    assert log.table["rating"].to_pylist() == [float(item) for item in items]
    assert items != sorted(items, key=int)


def test_what_cannot_be_shuffled():
    places = Interactions.from_rows([("u", "a"), ("u", "b"), ("v", "a")])
    with pytest.raises(InputError, match=r"the place is the time.*leave out data\.shuffle_ties"):
        places.shuffled_ties(0)
    with pytest.raises(InputError, match="shuffle_ties is -1; give a seed, 0 or more"):
        places.shuffled_ties(-1)


def test_tied_ends_count_users_whose_last_two_came_at_one_time():
    rows = [
        *[("tied", "a", 1), ("tied", "b", 2), ("tied", "c", 2)],
        *[("early", "a", 1), ("early", "b", 1), ("early", "c", 2)],
        *[("short", "a", 1), ("short", "b", 1)],
        *[("gone", "a", 1), ("gone", "b", 2), ("gone", "c", 3), ("gone", "x", 3)],
        *[("again", "a", 1), ("again", "b", 2), ("again", "c", 3), ("again", "a", 3)],
    ]
    log = Interactions.from_rows(rows)
    assert log.tied_ends(["a", "b", "c"]) == 1 / 4
    assert log.tied_ends(["a", "b", "c", "x"]) == 2 / 4
    assert Interactions.from_rows([("u", i) for i in "abc"]).tied_ends(list("abc")) is None
