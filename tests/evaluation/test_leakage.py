import os
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from p5mm.data.histories import Histories
from p5mm.data.split import LeaveOneOut
from p5mm.errors import InputError, LeakageError
from p5mm.evaluation.linter.finding import Finding, require_no_leaks
from p5mm.evaluation.linter.leakage import (
    learned_held_out_items,
    learned_held_out_ratings,
    numbering_findings,
    trained_on_other_histories,
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


def test_a_clean_split_has_no_findings(split):
    assert numbering_findings(split) == []
    require_no_leaks([])


def test_a_digest_of_other_histories_is_a_leak():
    assert trained_on_other_histories("12ab", "12ab") == []
    (finding,) = trained_on_other_histories("12ab", "34cd")
    assert finding.level == "leak"
    assert finding.what.startswith("the log in the folder is not the one that was trained on")
    assert finding.example == "digest 12ab, and 34cd of the log"
    with pytest.raises(LeakageError, match="would not be honest\nleak: the log in the folder"):
        require_no_leaks([finding])


def test_a_strange_digest_stays_on_its_line():
    (finding,) = trained_on_other_histories("a\n\x1b[2J" + 1000 * "b", "34cd")
    assert "\n" not in str(finding)
    assert "\x1b" not in str(finding)
    assert len(str(finding)) < 400


def test_the_numbers_of_p5_are_found(split):
    """Numbered in order of first appearance over whole sequences: users in the file's order."""
    numbers = by_appearance(split.log.items.tolist())
    findings = numbering_findings(split, numbers)
    assert [finding.level for finding in findings] == ["warning"]
    assert "follow the order of held-out data" in findings[0].what
    assert "p5mm reads no numbers" in findings[0].example
    require_no_leaks(findings)
    assert [
        finding.level for finding in numbering_findings(split, numbers, ids_are_input=True)
    ] == ["leak"]


def test_sparse_numbers_are_the_same_numbers(split):
    numbers = by_appearance(split.log.items.tolist()) * 1000 + 17
    assert len(numbering_findings(split, numbers)) == 1


@pytest.mark.parametrize("seed", range(10))
def test_numbers_at_random_or_by_training_data_give_nothing_away(seed):
    split = LeaveOneOut(Histories.from_lists(shoppers(seed=seed)))
    assert numbering_findings(split, np.random.default_rng(seed).permutation(ITEMS)) == []
    assert numbering_findings(split, by_appearance(split.train.items.tolist())) == []


def test_a_walk_that_training_shows_is_no_finding():
    """Everybody goes one step on: the numbers answer, and so does what others did before."""
    walks = [[(start + step) % 40 for step in range(9)] for start in range(40)]
    assert numbering_findings(LeaveOneOut(Histories.from_lists(walks))) == []


def test_few_users_prove_nothing():
    split = LeaveOneOut(Histories.from_lists([[0, 1, 2, 3], [4, 5, 6, 7]]))
    assert numbering_findings(split, ids_are_input=True) == []
    empty = LeaveOneOut(Histories.from_lists([[0, 1]]))
    assert numbering_findings(empty) == []


def test_a_model_that_learned_more_than_the_training_part(split):
    trained = np.zeros(ITEMS, np.bool_)
    trained[split.train.items] = True
    assert learned_held_out_items(split, trained) == []
    trained[split.log.items] = True
    more = len(set(split.log.items.tolist()) - set(split.train.items.tolist()))
    findings = learned_held_out_items(split, trained)
    assert [finding.level for finding in findings] == ["leak"]
    assert f"has learned {more} items" in findings[0].what


def test_numbers_of_ids():
    assert id_numbers(["3", "20", "100"]).tolist() == [3, 20, 100]
    assert id_numbers(["3", "2b"]).tolist() == [0, 1]


def test_a_finding_reads_as_one_line():
    assert str(Finding("leak", "w", "e", "r")) == "leak: w (e); r"
    assert issubclass(LeakageError, InputError)


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
        findings = numbering_findings(split, id_numbers(items))
        assert time.process_time() - start < 2
        require_no_leaks(findings)
        levels[name] = [finding.level for finding in findings]
    assert levels == {"ml-100k": [], "amazon-beauty": ["warning"]}


def test_ratings_counted_on_the_whole_log_are_told(split):
    log = split.log
    ratings = np.ones(len(log.items), np.float32)
    ratings[::3] = np.nan
    rated = LeaveOneOut(replace(log, ratings=ratings))
    counted = np.bincount(
        rated.train.items[~np.isnan(rated.train.ratings)], minlength=ITEMS
    ).astype(float)
    assert learned_held_out_ratings(rated, counted) == []
    whole = np.bincount(log.items[~np.isnan(ratings)], minlength=ITEMS).astype(float)
    (finding,) = learned_held_out_ratings(rated, whole)
    assert finding.level == "leak"
    assert learned_held_out_ratings(split, np.zeros(ITEMS)) == []
    assert learned_held_out_ratings(split, counted)
