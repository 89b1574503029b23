"""What is held out by time, by hand on a log of a few lines."""

import numpy as np
import pytest

from p5mm.baselines.base import fit_key
from p5mm.baselines.popularity import Popularity
from p5mm.data.histories import Histories
from p5mm.data.interactions import Interactions
from p5mm.data.split import LeaveOneOut, TimeSplit, split_log
from p5mm.errors import InputError

# Items 0 to 5; validation is from time 10 on, test from time 20 on.
TAKEN = {
    "both": [(0, 1), (1, 9), (2, 10), (3, 15), (4, 20), (5, 25)],
    "valid only": [(1, 3), (2, 19)],
    "test only": [(3, 3), (4, 5), (0, 30)],
    "before": [(0, 2), (1, 4), (5, 9)],
    "wholly after": [(5, 22), (2, 23), (1, 24)],
    "new in validation": [(4, 12), (3, 21)],
}
LOG = Histories.from_lists([[item for item, _ in events] for events in TAKEN.values()])
TIMES = np.array([time for events in TAKEN.values() for _, time in events], dtype=np.float64)
SPLIT = TimeSplit(LOG, TIMES, 10.0, 20.0)


def lists(histories: Histories) -> list[list[int]]:
    return [histories[user].tolist() for user in range(len(histories))]


def test_everything_before_the_first_time_is_trained_on_and_nothing_else() -> None:
    assert lists(SPLIT.train) == [[0, 1], [1], [3, 4], [0, 1, 5], [], []]


def test_a_target_is_the_first_item_from_a_time_on_after_all_that_came_before() -> None:
    valid, test = SPLIT.cases("valid"), SPLIT.cases("test")
    assert valid.users.tolist() == [0, 1]
    assert (lists(valid.histories), valid.targets.tolist()) == ([[0, 1], [1]], [2, 2])
    assert test.users.tolist() == [0, 2, 5]
    assert lists(test.histories) == [[0, 1, 2, 3], [3, 4], [4]]
    assert test.targets.tolist() == [4, 0, 3]


@pytest.mark.parametrize("seed", range(5))
def test_random_logs_agree_with_the_definition(seed: int) -> None:
    rng = np.random.default_rng(seed)
    logs = [np.sort(rng.integers(0, 12, rng.integers(1, 9))) for _ in range(30)]
    items = [rng.permutation(20)[: len(times)] for times in logs]
    split = TimeSplit.of(Histories.from_lists(items), np.concatenate(logs).astype(np.float64))
    bounds = {"valid": (split.valid_from, split.test_from), "test": (split.test_from, np.inf)}
    for user, times in enumerate(logs):
        assert split.train[user].tolist() == items[user][times < split.valid_from].tolist()
    for part, (start, end) in bounds.items():
        expected = [
            (user, known.tolist(), asked[0])
            for user, times in enumerate(logs)
            if len(known := items[user][times < start])
            and len(asked := items[user][(times >= start) & (times < end)])
        ]
        cases = split.cases(part)
        found = zip(cases.users, lists(cases.histories), cases.targets, strict=True)
        assert list(found) == expected
        answered = lists(split.answered(part))
        assert answered == [[*known, target] for _, known, target in expected]


def test_the_times_are_quantiles_of_all_and_the_protocol_states_them() -> None:
    log = Histories.from_lists([[*range(10)], [*range(10)]])
    split = TimeSplit.of(log, np.tile(np.arange(10.0) * 7, 2))
    assert (split.valid_from, split.test_from) == (56.0, 63.0)
    assert split.told["trained before"] == 56.0
    assert split.told["tested from"] == 63.0
    assert "0.8 quantile" in split.told["held out"]


@pytest.mark.parametrize(
    ("times", "part"),
    [
        ([5, 5, 5, 5, 5, 5], "valid"),  # all at one time: nothing is before
        ([1, 2, 3, 9, 9, 9], "valid"),  # whoever is there later was not there before
    ],
)
def test_a_part_without_a_case_is_an_error_that_says_why(times: list[int], part: str) -> None:
    log = Histories.from_lists([[0, 1, 2], [3, 4, 5]])
    with pytest.raises(InputError, match=f"the {part} part has no case") as told:
        TimeSplit.of(log, np.array(times, dtype=np.float64))
    assert "--data.split leave-one-out" in str(told.value)
    assert f"times are {times[0]} to {times[-1]}" in str(told.value)


def test_nobody_in_the_test_is_an_error() -> None:
    """Those who come last were never there before."""
    rows = [("old", f"i{time}", time) for time in range(9)] + [("late", "i0", 9.5)]
    log = Interactions.from_rows(rows)
    with pytest.raises(InputError, match="the test part has no case"):
        split_log(log, sorted(log.item_ids), "time")


def test_times_are_those_of_the_histories() -> None:
    rows = [("ann", "tea", 4), ("ann", "cup", 2), ("bob", "jam", 3), ("ann", "tea", 9)]
    log = Interactions.from_rows(rows)
    assert log.histories(["cup", "tea"])[1].items.tolist() == [0, 1]
    assert log.times(["cup", "tea"]).tolist() == [2, 4]  # no unknown item, no repeat


def test_a_clock_is_told_from_places() -> None:
    pairs = [("ann", "tea"), ("bob", "jam"), ("ann", "cup"), ("bob", "tea")]
    assert not Interactions.from_rows(pairs).has_clock
    places = [0, 0, 1, 1]
    timed = [(*pair, place) for pair, place in zip(pairs, places, strict=True)]
    assert not Interactions.from_rows(timed).has_clock
    assert Interactions.from_rows([(*pair, time + 5) for *pair, time in timed]).has_clock


def test_baselines_of_another_split_are_not_taken_from_a_cache() -> None:
    others = [LeaveOneOut(LOG), SPLIT, TimeSplit(LOG, TIMES, 9.0, 20.0)]
    assert len({fit_key(Popularity(), split, 6) for split in others}) == 3
