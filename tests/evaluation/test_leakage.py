import os
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from p5mm.data.histories import Histories
from p5mm.data.split import Cases, LeaveOneOut
from p5mm.errors import InputError, LeakageError
from p5mm.evaluation.linter.finding import Finding, require_no_leaks
from p5mm.evaluation.linter.leakage import (
    HELD_OUT,
    learned_held_out_items,
    learned_held_out_ratings,
    lint,
    numbers_tell,
)
from p5mm.evaluation.linter.numbering import id_numbers

DATA = Path(os.environ.get("P5MM_DATA", Path(__file__).parents[2] / "shared" / "data"))
ITEMS = 600


def shoppers(users: int = 400, seed: int = 0) -> list[list[int]]:
    """Popular and rare items in random order."""
    rng = np.random.default_rng(seed)
    weights = 1 / np.arange(10, ITEMS + 10)
    weights /= weights.sum()
    return [
        rng.choice(ITEMS, rng.integers(3, 12), replace=False, p=weights).tolist()
        for _ in range(users)
    ]


def by_appearance(items: list[int]) -> np.ndarray:
    """Numbers in order of first appearance, what does not appear last."""
    order = list(dict.fromkeys([*items, *range(ITEMS)]))
    numbers = np.empty(ITEMS, np.int64)
    numbers[order] = np.arange(ITEMS)
    return numbers


@pytest.fixture(scope="module")
def split() -> LeaveOneOut:
    return LeaveOneOut(Histories.from_lists(shoppers()))


@dataclass(frozen=True)
class Told(LeaveOneOut):
    """A split with one part of its cases replaced."""

    part: str
    wrong: Cases

    def cases(self, part):
        return self.wrong if part == self.part else super().cases(part)


def test_an_honest_split_has_no_findings(split):
    assert lint(split, {"sequential": split.train, "rating": split.train}) == []
    require_no_leaks([])


@pytest.mark.parametrize(("part", "left"), [("valid", 1), ("test", 0)])
def test_a_task_that_trains_on_targets(split, part, left):
    lists = [split.train[user].tolist() for user in range(len(split.log))]
    target = int(split.log[7][-2 if part == "valid" else -1])
    lists[7].append(target)
    found = lint(split, {"sequential": split.train, "explanation": Histories.from_lists(lists)})
    assert [one.level for one in found] == ["leak"]
    assert f"task 'explanation' trains on 1 of 400 {part} targets" in found[0].what
    assert found[0].example == f"such as user row 7, item row {target}"
    with pytest.raises(LeakageError, match="would not be honest"):
        require_no_leaks(found)


def test_a_target_of_another_user_is_no_leak(split):
    lists = [split.train[user].tolist() for user in range(len(split.log))]
    mine = set(split.log[3].tolist())
    strange = next(int(i) for i in split.cases("test").targets if int(i) not in mine)
    lists[3].append(strange)
    assert lint(split, {"sequential": Histories.from_lists(lists)}) == []


def test_a_random_split_of_a_second_task_is_counted(split):
    """VIP5's explanations: eight of ten reviews at random, whatever sequences hold out."""
    rng = np.random.default_rng(1)
    lists = [[int(i) for i in split.log[u] if rng.random() < 0.8] for u in range(len(split.log))]
    wanted = sum(int(split.log[u][-1]) in lists[u] for u in range(len(lists)))
    found = lint(split, {"explanation": Histories.from_lists(lists)})
    assert any(f"trains on {wanted} of 400 test targets" in one.what for one in found)
    assert 0.7 * 400 < wanted < 0.9 * 400


def test_histories_of_other_users_are_refused(split):
    with pytest.raises(InputError, match="task 'direct' has 2 histories, but user 399 is asked"):
        lint(split, {"direct": Histories.from_lists([[1], [2]])})


@pytest.mark.parametrize("part", ["valid", "test"])
def test_a_case_that_holds_its_target(split, part):
    cases = split.cases(part)
    lists = [cases.histories[i].tolist() for i in range(len(cases))]
    lists[5][0] = int(cases.targets[5])  # not longer than it should be
    wrong = replace(cases, histories=Histories.from_lists(lists))
    found = lint(Told(split.log, part, wrong), {})
    assert {one.level for one in found} == {"leak"}
    assert [one.what for one in found] == [
        f"1 of 400 {part} cases have the target in their history",
        f"1 of 400 {part} cases have a history with items that are not before the target",
    ]


def test_a_case_that_knows_what_came_after(split):
    cases = split.cases("valid")
    wrong = replace(cases, histories=split.cases("test").histories)  # with the validation target
    found = lint(Told(split.log, "valid", wrong), {})
    assert [one.what.split("cases ")[1] for one in found] == [
        "have the target in their history",
        "have a history with items that are not before the target",
        "have a history longer than what is before the target",
    ]
    assert all(one.what.startswith("400 of 400") for one in found)


def test_the_numbers_of_p5_are_found(split):
    """Numbered in order of first appearance over whole sequences: users in the file's order."""
    numbers = by_appearance(split.log.items.tolist())
    found = lint(split, {"sequential": split.train}, numbers)
    assert [one.level for one in found] == ["warning"]
    assert "follow the order of held-out data" in found[0].what
    assert "p5mm reads no numbers" in found[0].example
    require_no_leaks(found)
    assert [one.level for one in lint(split, {}, numbers, ids_are_input=True)] == ["leak"]


def test_sparse_numbers_are_the_same_numbers(split):
    numbers = by_appearance(split.log.items.tolist()) * 1000 + 17
    assert len(numbers_tell(split, numbers)) == 1


@pytest.mark.parametrize("seed", range(10))
def test_numbers_at_random_or_by_training_data_are_honest(seed):
    split = LeaveOneOut(Histories.from_lists(shoppers(seed=seed)))
    assert numbers_tell(split, np.random.default_rng(seed).permutation(ITEMS)) == []
    assert numbers_tell(split, by_appearance(split.train.items.tolist())) == []


def test_a_walk_that_training_shows_is_no_finding():
    """Everybody goes one step on: the numbers answer, and so does what others did before."""
    walks = [[(start + step) % 40 for step in range(9)] for start in range(40)]
    assert numbers_tell(LeaveOneOut(Histories.from_lists(walks))) == []


def test_few_users_prove_nothing():
    split = LeaveOneOut(Histories.from_lists([[0, 1, 2, 3], [4, 5, 6, 7]]))
    assert lint(split, {"sequential": split.train}, ids_are_input=True) == []
    empty = LeaveOneOut(Histories.from_lists([[0, 1]]))
    assert lint(empty, {"sequential": empty.train}) == []


def test_a_model_that_learned_more_than_the_training_part(split):
    trained = np.zeros(ITEMS, np.bool_)
    trained[split.train.items] = True
    assert learned_held_out_items(split, trained) == []
    trained[split.log.items] = True
    more = len(set(split.log.items.tolist()) - set(split.train.items.tolist()))
    found = learned_held_out_items(split, trained)
    assert [one.level for one in found] == ["leak"]
    assert f"has learned {more} items" in found[0].what


def test_numbers_of_ids():
    assert id_numbers(["3", "20", "100"]).tolist() == [3, 20, 100]
    assert id_numbers(["3", "2b"]).tolist() == [0, 1]


def test_a_finding_reads_as_one_line():
    assert str(Finding("leak", "w", "e", "r")) == "leak: w (e); r"
    assert issubclass(LeakageError, InputError)
    assert list(HELD_OUT) == ["valid", "test"]


@pytest.mark.real
@pytest.mark.skipif(not DATA.is_dir(), reason="no shared data")
def test_the_real_sets_have_no_leak_and_beauty_the_numbers_of_p5():
    from p5mm.config import DataConfig
    from p5mm.data.dataset import open_dataset

    levels = {}
    for name, k_core in (("ml-100k", 5), ("amazon-beauty", 0)):
        log = open_dataset(DataConfig(str(DATA / name), k_core=k_core)).interactions
        items = sorted(log.item_ids)
        split = LeaveOneOut(log.histories(items)[1])
        start = time.process_time()
        found = lint(split, {"sequential": split.train}, id_numbers(items))
        assert time.process_time() - start < 2
        require_no_leaks(found)
        levels[name] = [one.level for one in found]
    assert levels == {"ml-100k": [], "amazon-beauty": ["warning"]}


def test_ratings_counted_on_the_whole_log_are_told(split):
    log = split.log
    ratings = np.ones(len(log.items), np.float32)
    ratings[::3] = np.nan
    rated = LeaveOneOut(replace(log, ratings=ratings))
    honest = np.bincount(rated.train.items[~np.isnan(rated.train.ratings)], minlength=ITEMS).astype(
        float
    )
    assert learned_held_out_ratings(rated, honest) == []
    whole = np.bincount(log.items[~np.isnan(ratings)], minlength=ITEMS).astype(float)
    (finding,) = learned_held_out_ratings(rated, whole)
    assert finding.level == "leak"
    assert learned_held_out_ratings(split, np.zeros(ITEMS)) == []
    assert learned_held_out_ratings(split, honest)
