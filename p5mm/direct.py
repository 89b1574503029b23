"""The direct task: which of 100 candidates did the user take? The candidates are stored."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray

from p5mm.asking import Question
from p5mm.baselines.base import Ranker
from p5mm.bootstrap import DRAWS
from p5mm.errors import InputError
from p5mm.evaluation import Report
from p5mm.histories import Histories
from p5mm.metrics import expected_ranks, metrics_per_user
from p5mm.recommender import Recommender
from p5mm.scorer import DECODER, Scorer
from p5mm.split import Cases, LeaveOneOut, Part
from p5mm.tables import read_table, require_columns

CANDIDATES = 100
KS = (1, 5, 10)
WEIGHTS = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0)
BATCH = 256
COLUMNS = ["user_id", "candidates", "target"]


@dataclass(frozen=True)
class Choices:
    """What every model chooses from.

    Attributes:
        cases: The cases of the split: all tasks ask for the same held-out items.
        candidates: ``[n, c]`` int64 item rows; the target among items the user never took.
    """

    cases: Cases
    candidates: NDArray[np.int64]

    @classmethod
    def draw(
        cls,
        split: LeaveOneOut,
        part: Part,
        n_items: int,
        seed: int = 0,
        count: int = CANDIDATES,
    ) -> "Choices":
        """The target and ``count - 1`` items drawn evenly from those the user never took.

        What a user took in any part of the log is no candidate, so nothing taken later stands
        as a negative. The target has no fixed place.

        Args:
            split: The log.
            part: Which held-out items.
            n_items: Catalog size.
            seed: Seed of the draws.
            count: Candidates of a case.

        Raises:
            InputError: A user left fewer than ``count - 1`` items untaken.
        """
        cases = split.cases(part)
        most = int(split.log.lengths[cases.users].max(initial=0))
        if n_items - most < count - 1:
            raise InputError(
                f"a user took {most} of {n_items} items, which leaves no {count - 1} others to "
                f"choose from; give at most {n_items - most + 1} candidates"
            )
        rng = np.random.default_rng((seed, part == "test"))
        drawn = [
            _draw(split.log.select(cases.users[start : start + BATCH]), n_items, count - 1, rng)
            for start in range(0, len(cases), BATCH)
        ]
        negatives = np.concatenate([np.empty((0, count - 1), np.int64), *drawn])
        candidates = np.concatenate([cases.targets[:, None], negatives], axis=1)
        return cls(cases, rng.permuted(candidates, axis=1))

    def __len__(self) -> int:
        return len(self.cases)

    @property
    def places(self) -> NDArray[np.int64]:
        """``[n]`` int64 place of the target among its candidates."""
        hits = self.candidates == self.cases.targets[:, None]
        places: NDArray[np.int64] = hits.argmax(axis=1).astype(np.int64)
        return places

    def write(self, path: Path, user_ids: Sequence[str], item_ids: Sequence[str]) -> None:
        """Write ``user_id``, ``candidates`` (a list of item ids) and ``target`` as Parquet."""
        names = np.asarray(item_ids, dtype=object)
        lists = names[self.candidates].tolist()
        columns = {
            "user_id": pa.array([user_ids[user] for user in self.cases.users], pa.string()),
            "candidates": pa.array(lists, pa.list_(pa.string())),
            "target": pa.array(names[self.cases.targets].tolist(), pa.string()),
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table(columns), path)

    @classmethod
    def read(
        cls, path: Path, cases: Cases, user_ids: Sequence[str], item_ids: Sequence[str]
    ) -> "Choices":
        """Stored candidates of the same cases.

        Raises:
            InputError: The file holds other users, targets or items than the cases.
        """
        table = read_table(path)
        require_columns(table, str(path), COLUMNS)
        rows = {item: row for row, item in enumerate(item_ids)}
        users = [user_ids[user] for user in cases.users]
        targets = [item_ids[target] for target in cases.targets]
        lists = table["candidates"].to_pylist()
        if table["user_id"].to_pylist() != users or table["target"].to_pylist() != targets:
            raise InputError(f"{path} holds candidates of another split; remove it to draw anew")
        if len({len(one) for one in lists}) > 1 or not all(i in rows for one in lists for i in one):
            raise InputError(f"{path} holds items that the catalog lacks; remove it to draw anew")
        candidates = np.array([[rows[item] for item in one] for one in lists], dtype=np.int64)
        return cls(cases, candidates)


class Chooser(Protocol):
    """Anything that scores a few candidates for a batch of histories."""

    def choose(self, histories: Histories, candidates: NDArray[np.int64]) -> NDArray[np.floating]:
        """``[b, c]`` scores of candidate rows ``[b, c]``, higher is better."""


@dataclass(frozen=True)
class Picked:
    """A ranker of the whole catalog that is asked for the candidates alone."""

    ranker: Ranker

    def choose(self, histories: Histories, candidates: NDArray[np.int64]) -> NDArray[np.floating]:
        """See ``Chooser``."""
        return np.take_along_axis(self.ranker.scores(histories), candidates, axis=1)


@dataclass(frozen=True)
class Asked:
    """A model asked with prompts of the direct family.

    Attributes:
        scorer: Of the model's whole catalog.
        rows: ``[items]`` catalog rows of the items that the candidates count in.
        prompts: Token ids; the mean of their logits counts.
        weight: Of the decoder's logit beside the retrieval logit; None is the decoder alone.
    """

    scorer: Scorer
    rows: NDArray[np.int64]
    prompts: Sequence[Sequence[int]]
    weight: float | None

    @classmethod
    def of(cls, model: Recommender, asked: Sequence[Question], weight: float | None) -> "Asked":
        """A model, and the questions to ask it."""
        return cls(model.scorer, model.rows, [one.tokens for one in asked], weight)

    def choose(self, histories: Histories, candidates: NDArray[np.int64]) -> NDArray[np.floating]:
        """See ``Chooser``."""
        decoder, retrieval = self.parts(histories, candidates)
        return decoder if self.weight is None else retrieval + self.weight * decoder

    def parts(
        self, histories: Histories, candidates: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The decoder's logits and the retriever's, each ``[b, c]``."""
        whole = replace(histories, items=self.rows[histories.items])
        among = torch.from_numpy(self.rows[candidates])
        encoded = self.scorer.encode(whole)
        logits = [
            replace(self.scorer, prompt=prompt).part(DECODER, encoded, whole, among)
            for prompt in self.prompts
        ]
        retrieval = self.scorer.retrieval(encoded, among)
        return torch.stack(logits).mean(0).numpy(), retrieval.numpy()


@dataclass(frozen=True)
class Served:
    """A model that scores the candidates as it does for recommendations."""

    scorer: Scorer
    rows: NDArray[np.int64]

    def choose(self, histories: Histories, candidates: NDArray[np.int64]) -> NDArray[np.floating]:
        """See ``Chooser``."""
        whole = replace(histories, items=self.rows[histories.items])
        among = torch.from_numpy(self.rows[candidates])
        return self.scorer.rerank(self.scorer.encode(whole), whole, among).numpy()


def stored_choices(
    model: Recommender, part: Part, path: Path, seed: int = 0, count: int = CANDIDATES
) -> Choices:
    """The candidates of a file, drawn and written first where there is none."""
    items = list(model.fitted.items)
    users = model.core.histories(items)[0]
    if not path.is_file():
        Choices.draw(model.split, part, len(items), seed, count).write(path, users, items)
    return Choices.read(path, model.split.cases(part), users, items)


def chosen_ranks(chooser: Chooser, choices: Choices) -> NDArray[np.float64]:
    """``[n]`` ranks of the targets among their candidates; ties at their expected rank."""
    order = np.argsort(choices.cases.histories.lengths, kind="stable")
    ranks, places = np.empty(len(choices)), choices.places
    for start in range(0, len(choices), BATCH):
        rows = order[start : start + BATCH]
        scores = chooser.choose(choices.cases.histories.select(rows), choices.candidates[rows])
        ranks[rows] = expected_ranks(scores, places[rows])
    return ranks


def direct_report(
    choosers: Mapping[str, Chooser], choices: Choices, part: Part, seed: int = 0
) -> Report:
    """HR@1, 5, 10 (``hit@k``) and NDCG of every chooser on the same candidates."""
    per_user = {
        name: metrics_per_user(chosen_ranks(chooser, choices), KS)
        for name, chooser in choosers.items()
    }
    protocol = {
        "split": part,
        "held out": "leave-one-out by time",
        "ranking": f"{choices.candidates.shape[1]} stored candidates",
        "users": len(choices),
        "ties": "expected rank",
        "ks": list(KS),
        "intervals": f"95 % percentile bootstrap over users, {DRAWS} draws",
        "seed": seed,
    }
    return Report(protocol, per_user, {}, {}, {})


def fit_weight(model: Recommender, asked: Sequence[Question], choices: Choices) -> float:
    """The decoder's weight by NDCG@10 on validation choices, for the mean of the seen questions."""
    seen = [one for one in asked if not one.held_out]
    asking = Asked.of(model, seen, None)
    histories = choices.cases.histories
    batches = [np.arange(s, min(s + BATCH, len(choices))) for s in range(0, len(choices), BATCH)]
    parts = [asking.parts(histories.select(rows), choices.candidates[rows]) for rows in batches]
    decoder, retrieval = (np.concatenate(part) for part in zip(*parts, strict=True))

    def ndcg(weight: float) -> float:
        ranks = expected_ranks(retrieval + weight * decoder, choices.places)
        return float(metrics_per_user(ranks, (10,))["ndcg@10"].mean())

    return max(WEIGHTS, key=ndcg)


def _draw(
    taken: Histories, n_items: int, count: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """``[b, count]`` items that each user did not take, without replacement."""
    keys = rng.random((len(taken), n_items))
    keys[np.repeat(np.arange(len(taken)), taken.lengths), taken.items] = np.inf
    if count == 0:
        return np.empty((len(taken), 0), np.int64)
    return np.argpartition(keys, count - 1, axis=1)[:, :count].astype(np.int64)
