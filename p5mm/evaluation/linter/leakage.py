"""Leaks: what is asked for can be seen by what answers; named and refused."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from p5mm.data.split import PARTS, Split
from p5mm.errors import counted, shown
from p5mm.evaluation.linter.finding import Finding
from p5mm.evaluation.linter.numbering import DRAWS, follows_held_out
from p5mm.evidence.similarity import cooccurrence


def trained_on_other_histories(trained_on: str, training_part: str) -> list[Finding]:
    """Whether a model was trained on other histories than those that the split leaves for it.

    Args:
        trained_on: Digest of the training histories, as the model keeps it.
        training_part: Digest of the training part of the split that is evaluated.
    """
    if trained_on == training_part:
        return []
    return [
        Finding(
            "leak",
            "the log in the folder is not the one that was trained on: its training part has "
            "other users, items, histories, ratings or headlines",
            f"digest {shown(trained_on)[:32] or 'empty'}, and {training_part} of the log",
            "evaluate with the log of the training, or train anew on this one",
        )
    ]


def learned_held_out_items(split: Split, trained: NDArray[np.bool_]) -> list[Finding]:
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
            f"the model has learned {counted(len(wrong), 'item')} that no training history holds",
            f"such as item row {wrong[0]}",
            "train it anew on the training part of the log that it is evaluated on",
        )
    ]


def learned_held_out_pairs(split: Split, similar: Any) -> list[Finding]:
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


def learned_held_out_ratings(split: Split, counts: NDArray[np.number]) -> list[Finding]:
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
            "the model has counted other ratings than those of training for "
            f"{counted(len(strange), 'item')}",
            f"such as item row {row}: {counts[row]:.0f} ratings, {expected[row]} in training",
            "count ratings anew on the training part of the log that it is evaluated on",
        )
    ]


def numbering_findings(
    split: Split, numbers: NDArray[np.int64] | None = None, ids_are_input: bool = False
) -> list[Finding]:
    """Item numbers made from held-out data, as P5's: the answer is the next number.

    A warning where no model reads the numbers: a catalog's rows have no meaning in p5mm.
    """
    counts = {
        f"{part} target is {rule}": count
        for part in PARTS
        for rule, count in follows_held_out(split, split.cases(part), numbers).items()
        if count.suspicious
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
