"""The product: fit, recommend, score, add items, save, load; raw ids at every edge."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from p5mm.config import Config
from p5mm.data.catalog import Catalog
from p5mm.data.dataset import Dataset
from p5mm.data.histories import Histories
from p5mm.data.tables import arrow_table, with_known_names
from p5mm.encoders.store import FeatureStore
from p5mm.errors import InputError, unknown
from p5mm.indexing.catalog_index import CatalogIndex
from p5mm.progress import Progress, progress
from p5mm.ranking.headlines import check_writes, written_headlines
from p5mm.ranking.scorer import Scorer
from p5mm.ranking.trained_model import TrainedModel
from p5mm.ranking.workers import side_by_side, torch_workers
from p5mm.serving.explanation import Explanation, explain
from p5mm.serving.folder import read_model, write_model
from p5mm.serving.live_user import LiveUser
from p5mm.serving.pairs import COLUMNS, PairBatch, Pairs
from p5mm.serving.requests import Requests, check_k
from p5mm.serving.server import Recommends
from p5mm.serving.upkeep.addition import with_items
from p5mm.serving.upkeep.continuing import continued
from p5mm.serving.upkeep.deletion import without_items
from p5mm.serving.upkeep.update import with_interactions
from p5mm.training.fit import fit

SIMILAR = pa.schema(
    [
        ("query_id", pa.string()),
        ("item_id", pa.string()),
        ("score", pa.float32()),
        ("rank", pa.int32()),
    ]
)


class Recommender(Recommends):
    """A trained multimodal generative recommender.

    Args:
        model: What a training left behind.

    Example:
        Train, recommend and keep::

            dataset = open_dataset(DataConfig(root="shop"))
            recommender = Recommender.fit(dataset, Config())
            table = recommender.recommend(histories=[["apple", "pear"]], k=5)
            recommender.save("model")
    """

    runtime = "torch"
    workers = staticmethod(torch_workers)

    def __init__(self, model: TrainedModel) -> None:
        self.model: TrainedModel = model

    @property
    def scorer(self) -> Scorer:
        """Ranks by torch."""
        return self.model.scorer

    @classmethod
    def fit(
        cls,
        dataset: Dataset,
        config: Config | None = None,
        *,
        store: FeatureStore | None = None,
        checkpoint: str | Path | None = None,
    ) -> "Recommender":
        """Encode the catalog, train, and choose how far to believe the reranker.

        Args:
            dataset: Catalog and log, from ``open_dataset``.
            config: Settings; the defaults where None.
            store: Where item vectors are kept; the user's cache folder where None.
            checkpoint: Folder in which an interrupted training goes on; None keeps nothing.

        Raises:
            InputError: Too few interactions, or settings that do not fit the data.
        """
        return cls(fit(dataset, config or Config(), store or FeatureStore(), checkpoint))

    def score(self, pairs: Any, strict: bool = True) -> pa.Table:
        """The pairs with a ``score`` column: how well each item fits its user now.

        Args:
            pairs: An Arrow table, or a pandas or polars frame: ``item_id``, and ``user_id`` or
                ``history`` (a list of item ids) a row.
            strict: Whether an unknown user or item is an error; else the pair gets no score
                (null), is counted and logged.

        Raises:
            InputError: A column is missing; or a user or an item is unknown and ``strict``.
        """
        table = with_known_names(arrow_table(pairs, "pairs"), "pairs", COLUMNS)
        with progress("score", table.num_rows, "pair") as shown:
            return self.scored(table, "pairs", strict, shown)

    def scored(
        self, table: pa.Table, what: str, strict: bool, shown: Progress, nobody: bool = False
    ) -> pa.Table:
        """What ``score`` gives of a table of plain columns.

        Args:
            table: As for ``score``.
            what: Name of the table in messages.
            strict: Whether an unknown user or item is an error.
            shown: Counts the pairs.
            nobody: Whether all users, or all items, may be unknown where it is no error.
        """
        asked = Pairs.of(table, self.model, strict, nobody, what)
        scores = np.full(table.num_rows, np.nan, dtype=np.float32)
        scorer = self.model.scorer

        def reranked_of(batch: PairBatch) -> NDArray[np.float32]:
            encoded = scorer.encode(batch.histories)
            candidates = torch.from_numpy(batch.candidates)
            return scorer.rerank(encoded, batch.histories, candidates).numpy()

        for batch, reranked in side_by_side(reranked_of, asked.batches(), self.workers):
            real = batch.places >= 0
            scores[batch.places[real]] = reranked[real]
            shown.update(int(real.sum()))
        if "score" in table.column_names:
            table = table.drop_columns(["score"])
        return table.append_column("score", pa.array(scores, from_pandas=True))

    def headlines(self, pairs: Any, width: int = 4, strict: bool = True) -> pa.Table:
        """The pairs with a ``headline`` column: what each user would write above a review.

        Args:
            pairs: As for ``score``.
            width: Beams; 1 takes the likeliest word.
            strict: Whether an unknown user or item is an error; else the pair gets no headline
                (null), is counted and logged.

        Raises:
            InputError: The model was not trained on the task review; a column is missing; or a
                user or an item is unknown and ``strict``.
        """
        check_writes(self.model)
        table = with_known_names(arrow_table(pairs, "pairs"), "pairs", COLUMNS)
        asked = Pairs.of(table, self.model, strict)
        rows = np.flatnonzero((asked.asker >= 0) & (asked.items >= 0))
        histories = asked.histories.select(asked.asker[rows])
        told: list[str | None] = [None] * table.num_rows
        written = written_headlines(self.model, histories, asked.items[rows], width)
        for row, headline in zip(rows.tolist(), written, strict=True):
            told[row] = headline
        if "headline" in table.column_names:
            table = table.drop_columns(["headline"])
        return table.append_column("headline", pa.array(told, pa.string()))

    def explain(
        self,
        item_id: str,
        user: str | None = None,
        *,
        history: Sequence[str] | None = None,
    ) -> Explanation:
        """Why an item gets its score: what is lost of it without each item of the history.

        Args:
            item_id: Of the catalog.
            user: Of the log; with a history, any name.
            history: Item ids in order of time; the user's in the log where None.

        Raises:
            InputError: The item, the user or an item of the history is unknown, or neither a user
                nor a history is given.
        """
        if user is None and history is None:
            raise InputError("nobody asks: give a user of the log, or a history")
        names = None if user is None else [user]
        asked = Requests.of(self.model, names, None if history is None else [history], strict=True)
        row = int(self._item_rows([item_id])[0])
        return explain(self.model, asked.names[0], asked.histories, row)

    def live(self, history: Sequence[str] = ()) -> LiveUser:
        """Somebody who is here right now: each ``append`` costs one position of the encoder.

        Args:
            history: Item ids in order of time.

        Raises:
            InputError: An item is unknown.
        """
        return LiveUser.of(self.model, history)

    def similar_items(self, item_ids: Sequence[str], k: int = 10) -> pa.Table:
        """The items nearest to each of some items, by retrieval vectors.

        Returns:
            ``query_id``, ``item_id``, ``score`` (cosine), ``rank`` (from 1); never the item itself.

        Raises:
            InputError: An item is unknown, or k is not positive.
        """
        check_k(k)
        index = self.model.offered_index
        vectors = self.model.scorer.vectors[torch.from_numpy(self._item_rows(item_ids))]
        nearest, scores = index.search(vectors.numpy(), min(k + 1, len(index)))
        rows = [
            {"query_id": query, "item_id": item, "score": float(score), "rank": rank}
            for query, ids, values in zip(item_ids, nearest, scores, strict=True)
            for rank, (item, score) in enumerate(
                [(i, s) for i, s in zip(ids, values, strict=True) if i != query][:k], start=1
            )
        ]
        return pa.Table.from_pylist(rows, schema=SIMILAR)

    def add_items(
        self,
        new: Catalog | CatalogIndex,
        store: FeatureStore | None = None,
        trust: Sequence[str] = (),
    ) -> "Recommender":
        """A recommender that also knows new items, by their content alone; nothing is trained.

        Items that it knows take the content that is given; what is deleted comes back.

        Args:
            new: A catalog to be encoded, or a catalog index whose vectors are taken.
            store: Where item vectors are kept; the user's cache folder where None.
            trust: Specs of encoders that the model's folder may name although they import code,
                open a path or ask a hub; those of p5mm itself need no trust.

        Raises:
            InputError: A column is of another type than the model's, or the index was made by
                other encoders.
        """
        return Recommender(with_items(self.model, new, store or FeatureStore(), trust)[0])

    def delete_items(self, item_ids: Sequence[str], strict: bool = True) -> "Recommender":
        """A recommender that serves some items no more; histories may hold them.

        Args:
            item_ids: Which.
            strict: Whether every id must be an item's; else those that are none are passed over.

        Raises:
            InputError: An id is unknown, or no item would be left.
        """
        return Recommender(without_items(self.model, item_ids, strict))

    def update(self, interactions: Any, epochs: int = 0) -> "Recommender":
        """A recommender whose users have taken more.

        Args:
            interactions: A table, or a pandas or polars frame, as of a log.
            epochs: Passes of a training that goes on from the weights; without any only histories
                change.

        Raises:
            InputError: A column is missing or cannot be used, or the training cannot go on.
        """
        table = arrow_table(interactions, "interactions")
        model, _ = with_interactions(self.model, table, "interactions")
        return Recommender(continued(model, epochs) if epochs else model)

    def save(self, folder: str | Path, force: bool = False) -> None:
        """Write the model folder: configuration, weights, tokenizer, items, log, index.

        Args:
            folder: New, empty, or a model's, which is replaced whole.
            force: Replace whatever else is in the folder.

        Raises:
            InputError: The folder holds something else than a model, or is a file.
        """
        write_model(self.model, Path(folder), force)

    @classmethod
    def load(cls, folder: str | Path) -> "Recommender":
        """Read a model folder; nothing in it is ever executed.

        Raises:
            InputError: It is no model folder, is damaged, or holds a pickle.
        """
        return cls(read_model(Path(folder)))

    def histories_of(self, users: Sequence[str]) -> Histories:
        """What users of the log took.

        Raises:
            InputError: A user is not in the log.
        """
        return Requests.of(self.model, users, None, strict=True).histories

    def _item_rows(self, item_ids: Sequence[str]) -> NDArray[np.int64]:
        rows = self.model.offered
        for item in item_ids:
            if item not in rows:
                raise unknown("item", item, rows)
        return np.array([rows[item] for item in item_ids], dtype=np.int64)
