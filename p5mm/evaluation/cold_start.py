"""New items: some of the catalog is held out of training altogether, then ranked by content."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from p5mm.data.dataset import Dataset
from p5mm.data.histories import Histories
from p5mm.data.split import Cases
from p5mm.errors import InputError
from p5mm.evaluation.evaluate import evaluate
from p5mm.evaluation.report import Report
from p5mm.metrics.ranker import Ranker
from p5mm.ranking.scorer import Scorer

SHARE = 0.1
KS = (10, 50)

Part = Literal["valid", "test"]


@dataclass(frozen=True)
class ColdStart:
    """A data set some of whose items nobody has taken yet, and who takes them afterwards.

    Attributes:
        dataset: As it was read.
        held_out: Part to ids of its new items; settings are chosen on "valid" alone.
    """

    dataset: Dataset
    held_out: Mapping[Part, tuple[str, ...]]

    @classmethod
    def draw(cls, dataset: Dataset, share: float = SHARE, seed: int = 0) -> "ColdStart":
        """Hold out a share of the items that were taken, half of them for each part.

        Raises:
            InputError: The share leaves no new item for a part, or no item to train on.
        """
        items = sorted(set(dataset.interactions.item_ids))
        count = round(share * len(items))
        if not 2 <= count < len(items):
            raise InputError(
                f"a share of {share} of {len(items)} items holds out {count}; give a share that "
                "holds out two items or more, and not all"
            )
        drawn = np.random.default_rng(seed).permutation(len(items))[:count]
        new = [items[i] for i in drawn]
        parts: dict[Part, list[str]] = {"valid": new[: count // 2], "test": new[count // 2 :]}
        return cls(dataset, {part: tuple(sorted(ids)) for part, ids in parts.items()})

    @cached_property
    def new(self) -> frozenset[str]:
        """Ids of all new items."""
        return frozenset(item for ids in self.held_out.values() for item in ids)

    @property
    def rows(self) -> NDArray[np.int64]:
        """``[m]`` catalog rows of all new items, ascending."""
        return np.sort(self._rows(tuple(self.new)))

    def training(self, k_core: int) -> Dataset:
        """The same catalog and the log without the new items, k-cored anew.

        Args:
            k_core: Of the data's config, so that a saved model reads its log the same way.
        """
        catalog = self.dataset.catalog
        log = self.dataset.log.known(
            [item for item in set(self.dataset.log.item_ids) if item not in self.new]
        )
        return Dataset(catalog, log.known(catalog.item_ids).core(k_core), log)

    def cases(self, part: Part) -> Cases:
        """Each user's last interaction with a new item of the part, in catalog rows.

        The history is what the user took before it, without new items, and has one item at least.

        Raises:
            InputError: The part is unknown, or nobody takes its new items.
        """
        if part not in self.held_out:
            raise InputError(f"there is no part '{part}'; give one of {', '.join(self.held_out)}")
        ids = self.dataset.catalog.item_ids
        _, whole = self.dataset.interactions.histories(ids)
        cases = last_of(whole, self._mask(self.held_out[part]), self._mask(tuple(self.new)))
        if not len(cases):
            raise InputError(f"nobody takes a new item of '{part}' after another; raise the share")
        return cases

    def _rows(self, ids: tuple[str, ...]) -> NDArray[np.int64]:
        return np.array([self.dataset.catalog.rows[item] for item in ids], dtype=np.int64)

    def _mask(self, ids: tuple[str, ...]) -> NDArray[np.bool_]:
        mask = np.zeros(len(self.dataset.catalog), dtype=np.bool_)
        mask[self._rows(ids)] = True
        return mask


def last_of(histories: Histories, wanted: NDArray[np.bool_], left_out: NDArray[np.bool_]) -> Cases:
    """Cases whose target is the last wanted item of a history that something stands before.

    Args:
        histories: Whole histories.
        wanted: ``[n_items]`` bool, True where an item may be a target.
        left_out: ``[n_items]`` bool, True where an item is taken out of the histories given.
    """
    kept = np.concatenate([[0], np.cumsum(~left_out[histories.items])])
    before = kept[:-1] - np.repeat(kept[histories.offsets[:-1]], histories.lengths)
    places = np.flatnonzero(wanted[histories.items] & (before > 0))
    owners = np.searchsorted(histories.offsets, places, side="right") - 1
    users, back = np.unique(owners[::-1], return_index=True)
    last = places[::-1][back]
    known = histories.without(left_out).select(users)
    return Cases(users, known.head(before[last]), histories.items[last])


@dataclass(frozen=True)
class Only:
    """A ranker of some rows of the catalog; all others come last."""

    ranker: Ranker
    rows: NDArray[np.int64]

    def scores(self, histories: Histories) -> NDArray[np.float32]:
        """``[b, n_items]`` float32, minus infinity outside the rows."""
        whole = self.ranker.scores(histories)
        scores = np.full(whole.shape, -np.inf, dtype=np.float32)
        scores[:, self.rows] = whole[:, self.rows]
        return scores


@dataclass(frozen=True)
class Counted:
    """How often items were taken, ties in random order; with zeros only, a random ranking.

    New items are all tied at zero. At its expected rank none of them would be in anybody's first
    k of more than 2 k, which is not what a shop that breaks ties somehow would see.

    Attributes:
        counts: ``[n_items]`` integers.
        seed: Of the order of ties.
    """

    counts: NDArray[np.int64]
    seed: int = 0

    def scores(self, histories: Histories) -> NDArray[np.float32]:
        """``[b, n_items]`` float32; the order of ties is a function of seed and history."""
        noise = np.empty((len(histories), len(self.counts)), dtype=np.float32)
        for user, row in enumerate(noise):
            rng = np.random.default_rng([self.seed, *histories[user][-8:].tolist()])
            row[:] = rng.random(len(row), dtype=np.float32)
        return np.float32(0.5) * noise + self.counts.astype(np.float32)


def among_new(scorer: Scorer, rows: NDArray[np.int64]) -> Ranker:
    """A scorer whose candidates are the new items."""
    return Only(scorer.within(rows), rows)


def cold_report(
    rankers: Mapping[str, Ranker], cases: Cases, n_items: int, *, part: Part, seed: int, among: str
) -> Report:
    """Recall and NDCG at 10 and 50 of the new items, with intervals and paired differences.

    Args:
        rankers: Name to ranker of the whole catalog; ``p5mm`` is compared with the others.
        cases: Of ``ColdStart.cases``.
        n_items: Catalog size.
        part: Name of the part, for the protocol.
        seed: Of the bootstrap.
        among: What the new items are ranked among, for the protocol.
    """
    report = evaluate(rankers, cases, n_items, KS, seed, split=part)
    protocol = report.protocol | {
        "held out": "new items: never in training; valid chooses content-knn's settings",
        "ranking": among,
        "targets": len(np.unique(cases.targets)),
    }
    return replace(report, protocol=protocol, retrieval={})
