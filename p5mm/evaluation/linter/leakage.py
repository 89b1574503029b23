"""Leaks: what is asked for can be seen by what answers; found, named and refused."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from p5mm.data.histories import Histories
from p5mm.data.split import Cases, LeaveOneOut, Part
from p5mm.errors import InputError
from p5mm.evaluation.linter.finding import Finding
from p5mm.evaluation.linter.numbering import DRAWS, follows_held_out
from p5mm.ranking.similarity import cooccurrence

HELD_OUT: dict[Part, int] = {"valid": 2, "test": 1}


def lint(
    split: LeaveOneOut,
    task_histories: Mapping[str, Histories],
    numbers: NDArray[np.int64] | None = None,
    ids_are_input: bool = False,
) -> list[Finding]:
    """What is wrong with a split, with what is trained on it, and with the ids of its items.

    A user is represented by the history alone, so a case without its target in the history has
    no user representation that holds it.

    Args:
        split: The split that is evaluated.
        task_histories: What each task trains on, a history for each user of ``split.log``.
        numbers: ``[n_items]`` the number in each item's id; the rows themselves where None.
        ids_are_input: Whether a model reads these numbers, as P5 does; p5mm does not.

    Raises:
        InputError: A task has histories of other users.
    """
    found: list[Finding] = []
    for part in HELD_OUT:
        cases = split.cases(part)
        for task, histories in task_histories.items():
            found += training_holds_targets(task, histories, part, cases)
        found += cases_know_too_much(split.log, part, cases)
    return found + numbers_tell(split, numbers, ids_are_input)


def training_holds_targets(
    task: str, histories: Histories, part: Part, cases: Cases
) -> list[Finding]:
    """Training histories that hold what their own user is asked for.

    VIP5 splits its explanations at random and its sequences by time, so most test items are in the
    training data of another task.

    Raises:
        InputError: There are fewer histories than users.
    """
    if len(histories) <= cases.users.max(initial=-1):
        raise InputError(
            f"task '{task}' has {len(histories)} histories, but user {cases.users.max()} is "
            "asked; give one history for each user of the log, empty where a task has none"
        )
    held = _holds(histories.select(cases.users), cases.targets)
    if not held.any():
        return []
    return [
        Finding(
            "leak",
            f"task '{task}' trains on {held.sum()} of {len(cases)} {part} targets",
            _example(cases, held),
            "train every task on the split's training part",
        )
    ]


def cases_know_too_much(log: Histories, part: Part, cases: Cases) -> list[Finding]:
    """Cases whose history holds the target, or anything that is not before it in the log."""
    before = np.maximum(log.lengths[cases.users] - HELD_OUT[part], 0)
    known = log.select(cases.users).head(before)
    asked = cases.histories
    width = 1 + max(int(h.items.max(initial=0)) for h in (known, asked))
    strange = ~np.isin(_pairs(asked, width), _pairs(known, width))
    late = np.bincount(_owners(asked)[strange], minlength=len(cases)) > 0
    checks = {
        "have the target in their history": _holds(asked, cases.targets),
        "have a history with items that are not before the target": late,
        "have a history longer than what is before the target": asked.lengths > before,
    }
    remedy = "end each history before its target and keep the first of repeated items"
    return [
        Finding(
            "leak", f"{bad.sum()} of {len(cases)} {part} cases {what}", _example(cases, bad), remedy
        )
        for what, bad in checks.items()
        if bad.any()
    ]


def learned_held_out_items(split: LeaveOneOut, trained: NDArray[np.bool_]) -> list[Finding]:
    """Weights of items that only held-out data has: they were trained on it.

    Args:
        split: The split that is evaluated.
        trained: ``[n_items]`` True where a model learned an item by its interactions.
    """
    unseen = np.ones(len(trained), np.bool_)
    unseen[split.train.items] = False
    wrong = np.flatnonzero(trained & unseen)
    if not len(wrong):
        return []
    return [
        Finding(
            "leak",
            f"the model has learned {len(wrong)} items that no training history holds",
            f"such as item row {wrong[0]}",
            "train it anew on the training part of the log that it is evaluated on",
        )
    ]


def learned_held_out_pairs(split: LeaveOneOut, similar: Any) -> list[Finding]:
    """Neighbours that no training history holds together: they were counted on held-out data.

    Args:
        split: The split that is evaluated.
        similar: ``[n_items, n_items]`` sparse; not zero where two items are neighbours.
    """
    strange = (abs(similar) > 0) > (cooccurrence(split.train, similar.shape[0]) > 0)
    rows, columns = strange.nonzero()
    if not len(rows):
        return []
    return [
        Finding(
            "leak",
            f"the model has {len(rows)} neighbours that no training history holds together",
            f"such as item rows {rows[0]} and {columns[0]}",
            "count neighbours anew on the training part of the log that it is evaluated on",
        )
    ]


def learned_held_out_ratings(split: LeaveOneOut, counts: NDArray[np.number]) -> list[Finding]:
    """Ratings that a model has counted beside those of the training part.

    Args:
        split: The split that is evaluated.
        counts: ``[n_items]`` how many ratings of each item were counted.
    """
    ratings = split.train.ratings
    known = np.zeros(0, np.int64) if ratings is None else split.train.items[~np.isnan(ratings)]
    expected = np.bincount(known, minlength=len(counts))
    strange = np.flatnonzero(counts != expected)
    if not len(strange):
        return []
    row = strange[0]
    return [
        Finding(
            "leak",
            f"the model has counted other ratings than those of training for {len(strange)} items",
            f"such as item row {row}: {counts[row]:.0f} ratings, {expected[row]} in training",
            "count ratings anew on the training part of the log that it is evaluated on",
        )
    ]


def numbers_tell(
    split: LeaveOneOut, numbers: NDArray[np.int64] | None = None, ids_are_input: bool = False
) -> list[Finding]:
    """Item numbers made from held-out data, as P5's: the answer is the next number.

    A warning where no model reads the numbers: a catalog's rows have no meaning in p5mm.
    """
    counts = {
        f"{part} target is {rule}": count
        for part in HELD_OUT
        for rule, count in follows_held_out(split, split.cases(part), numbers).items()
        if count.tells
    }
    if not counts:
        return []
    what, most = max(counts.items(), key=lambda pair: pair[1].hits / pair[1].cases)
    harmless = "" if ids_are_input else "; harmless here, for p5mm reads no numbers"
    return [
        Finding(
            "leak" if ids_are_input else "warning",
            "item ids follow the order of held-out data",
            f"the {what} for {most.hits} of {most.cases} users, for at most {most.most} under "
            f"{DRAWS} random numberings{harmless}",
            "number items by content, by training data or at random before a model reads numbers",
        )
    ]


def _owners(histories: Histories) -> NDArray[np.int64]:
    return np.repeat(np.arange(len(histories)), histories.lengths)


def _pairs(histories: Histories, width: int) -> NDArray[np.int64]:
    """``[n]`` one integer for each pair of a history and an item below ``width``."""
    return _owners(histories) * width + histories.items


def _holds(histories: Histories, targets: NDArray[np.int64]) -> NDArray[np.bool_]:
    """``[b]`` whether each history holds its target."""
    owners = _owners(histories)
    hits = owners[histories.items == targets[owners]]
    return np.bincount(hits, minlength=len(histories)) > 0


def _example(cases: Cases, bad: NDArray[np.bool_]) -> str:
    first = int(np.flatnonzero(bad)[0])
    return f"such as user row {cases.users[first]}, item row {cases.targets[first]}"
