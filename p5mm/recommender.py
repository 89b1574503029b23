"""The product: fit, recommend, score, similar_items, save, load; raw ids at every edge."""

import sys
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from tqdm import tqdm

from p5mm.catalog import Catalog
from p5mm.config import Config
from p5mm.content import Content
from p5mm.dataset import Dataset
from p5mm.encoders.store import FeatureStore
from p5mm.errors import InputError, unknown
from p5mm.evidence import Evidence
from p5mm.fitted import Fitted
from p5mm.histories import Histories
from p5mm.interactions import Interactions
from p5mm.kin import Kin
from p5mm.model import Network
from p5mm.pairs import Pairs
from p5mm.recommendations import first_unseen, recommendation_table
from p5mm.retrieval.index import VectorIndex
from p5mm.scorer import Scorer
from p5mm.split import LeaveOneOut

if TYPE_CHECKING:
    from p5mm.catalog_index import CatalogIndex

BATCH = 256
SIMILAR = pa.schema(
    [
        ("query_id", pa.string()),
        ("item_id", pa.string()),
        ("score", pa.float32()),
        ("rank", pa.int32()),
    ]
)


class Recommender:
    """A trained multimodal generative recommender.

    Args:
        config: Everything that the training depended on.
        catalog: All items that can be recommended.
        log: Every interaction: the histories of known users, and what they have seen.
        content: Vectors of the catalog's items.
        network: Trained.
        tokenizer: Of the prompts.
        similar: ``[n, n]`` CSR neighbours of the catalog's items.
        fitted: What training found besides the weights.

    Example:
        Train, recommend and keep::

            dataset = open_dataset(DataConfig(root="shop"))
            recommender = Recommender.fit(dataset, Config())
            table = recommender.recommend(histories=[["apple", "pear"]], k=5)
            recommender.save("model")
    """

    def __init__(
        self,
        config: Config,
        catalog: Catalog,
        log: Interactions,
        content: Content,
        network: Network,
        tokenizer: Tokenizer,
        similar: Any,
        fitted: Fitted,
    ) -> None:
        self.config = config
        self.catalog = catalog
        self.log = log
        self.content = content
        self.network = network.eval()
        self.tokenizer = tokenizer
        self.similar = similar
        self.fitted = fitted

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
        from p5mm.fitting import fit

        return fit(dataset, config or Config(), store or FeatureStore(), checkpoint)

    @cached_property
    def user_ids(self) -> list[str]:
        """Ids of the users of the log, in the order of their rows."""
        return self._known[0]

    @cached_property
    def histories(self) -> Histories:
        """Everything that the users of the log took, in catalog rows."""
        return self._known[1]

    @cached_property
    def split(self) -> LeaveOneOut:
        """The leave-one-out split of what was learned from, in the numbers of ``fitted.items``."""
        return LeaveOneOut(self.core.histories(list(self.fitted.items))[1])

    @cached_property
    def core(self) -> Interactions:
        """The part of the log that was learned from."""
        return self.log.known(self.catalog.item_ids).core(self.config.data.k_core)

    @cached_property
    def rows(self) -> NDArray[np.int64]:
        """``[items]`` catalog rows of ``fitted.items``."""
        return np.array([self.catalog.rows[item] for item in self.fitted.items], dtype=np.int64)

    @cached_property
    def scorer(self) -> Scorer:
        """Retriever and reranker with item vectors made once."""
        kin = Kin.of(self.network.items)
        scorer = Scorer.of(
            self.network,
            self.fitted.prompt,
            self.config.model.max_history,
            self.config.retrieval.candidates,
            self.fitted.rating_scale,
            self.fitted.handicap,
            kin,
        )
        evidence = Evidence.of(kin.introduce(self.similar), self.content.tensors()[0])
        return scorer.weighing(evidence, self.fitted.weights)

    @cached_property
    def index(self) -> VectorIndex:
        """Retrieval vectors of all items of which something is known."""
        known = self.network.items.known.numpy()
        ids = [item for item, there in zip(self.catalog.item_ids, known, strict=True) if there]
        return VectorIndex.build(
            ids, self.scorer.index_vectors()[known], kind=self.config.retrieval.index
        )

    @property
    def training_log(self) -> list[dict[str, float]]:
        """One entry an epoch: epoch, loss, ndcg@10, recall@10, seconds."""
        return self.fitted.log

    def recommend(
        self,
        users: Sequence[str] | None = None,
        *,
        histories: Sequence[Sequence[str]] | None = None,
        k: int = 10,
        filter_seen: bool = True,
        progress: bool = False,
    ) -> pa.Table:
        """The best ``k`` items for each user.

        Args:
            users: Ids of the log's users; all of them where both arguments are None. With
                histories, any names for them.
            histories: Item ids in order of time, for users who need not be in the log.
            k: Items a user; fewer only where the catalog has no more.
            filter_seen: Leave out what the history holds.
            progress: Show a bar, on a terminal.

        Returns:
            ``user_id``, ``item_id`` (strings), ``score`` (float32), ``rank`` (int32, from 1).

        Raises:
            InputError: A user or an item is unknown, or k is not positive.
        """
        _check_k(k)
        names, asked = self._asked(users, histories)
        parts = [recommendation_table([], [], [], [])]
        with _bar("recommend", len(names), progress) as bar:
            for start in range(0, len(names), BATCH):
                rows = np.arange(start, min(start + BATCH, len(names)), dtype=np.int64)
                part = names[start : start + BATCH]
                parts.append(self._recommend(part, asked.select(rows), k, filter_seen))
                bar.update(len(rows))
        return pa.concat_tables(parts)

    def score(self, pairs: pa.Table, progress: bool = False) -> pa.Table:
        """The pairs with a ``score`` column: how well each item fits its user now.

        Args:
            pairs: ``item_id``, and ``user_id`` or ``history`` (a list of item ids) a row.
            progress: Show a bar, on a terminal.

        Raises:
            InputError: A column is missing, or a user or an item is unknown.
        """
        asked = Pairs.of(pairs, self._item_rows, self.histories_of)
        scores = np.empty(pairs.num_rows, dtype=np.float32)
        with _bar("score", pairs.num_rows, progress) as bar:
            for batch in asked.batches():
                encoded = self.scorer.encode(batch.histories)
                found = self.scorer.rerank(
                    encoded, batch.histories, torch.from_numpy(batch.candidates)
                ).numpy()
                real = batch.places >= 0
                scores[batch.places[real]] = found[real]
                bar.update(int(real.sum()))
        if "score" in pairs.column_names:
            pairs = pairs.drop_columns(["score"])
        return pairs.append_column("score", pa.array(scores))

    def similar_items(self, item_ids: Sequence[str], k: int = 10) -> pa.Table:
        """The items nearest to each of some items, by retrieval vectors.

        Returns:
            ``query_id``, ``item_id``, ``score`` (cosine), ``rank`` (from 1); never the item itself.

        Raises:
            InputError: An item is unknown, or k is not positive.
        """
        _check_k(k)
        vectors = self.scorer.vectors[torch.from_numpy(self._item_rows(item_ids))]
        queries = self.scorer.index_queries(vectors, biased=False)
        found, scores = self.index.search(queries, min(k + 1, len(self.index)))
        rows = [
            {"query_id": query, "item_id": item, "score": float(score), "rank": rank}
            for query, ids, values in zip(item_ids, found, scores, strict=True)
            for rank, (item, score) in enumerate(
                [(i, s) for i, s in zip(ids, values, strict=True) if i != query][:k], start=1
            )
        ]
        return pa.Table.from_pylist(rows, schema=SIMILAR)

    def add_items(
        self, new: "Catalog | CatalogIndex", store: FeatureStore | None = None
    ) -> "Recommender":
        """A recommender that also knows new items, by their content alone; nothing is trained.

        Args:
            new: A catalog to be encoded, or a catalog index whose vectors are taken.
            store: Where item vectors are kept; the user's cache folder where None.

        Raises:
            InputError: An item is known already, or the index was made by other encoders.
        """
        from p5mm.growth import add_items

        return add_items(self, new, store or FeatureStore())

    def save(self, folder: str | Path) -> None:
        """Write the model folder: configuration, weights, tokenizer, items, log, index."""
        from p5mm.model_folder import write_model

        write_model(self, Path(folder))

    @classmethod
    def load(cls, folder: str | Path) -> "Recommender":
        """Read a model folder; nothing in it is ever executed.

        Raises:
            InputError: It is no model folder, is damaged, or holds a pickle.
        """
        from p5mm.model_folder import read_model

        return read_model(Path(folder))

    @cached_property
    def _known(self) -> tuple[list[str], Histories]:
        return self.log.known(self.catalog.item_ids).histories(self.catalog.item_ids)

    @cached_property
    def _user_rows(self) -> dict[str, int]:
        return {user: row for row, user in enumerate(self.user_ids)}

    def _asked(
        self, users: Sequence[str] | None, histories: Sequence[Sequence[str]] | None
    ) -> tuple[list[str], Histories]:
        if histories is None:
            names = self.user_ids if users is None else list(users)
            return names, self.histories_of(names)
        names = [str(i) for i in range(len(histories))] if users is None else list(users)
        if len(names) != len(histories):
            raise InputError(f"{len(names)} users for {len(histories)} histories; give one each")
        return names, Histories.from_lists([self._item_rows(one).tolist() for one in histories])

    def histories_of(self, users: Sequence[str]) -> Histories:
        """What users of the log took.

        Raises:
            InputError: A user is not in the log.
        """
        strangers = [user for user in users if user not in self._user_rows]
        if strangers:
            raise InputError(
                f"{len(strangers)} users are not in the log, such as '{strangers[0]}'; for new "
                "users give their histories (a column 'history' with lists of item ids)"
            )
        return self.histories.select(
            np.array([self._user_rows[user] for user in users], dtype=np.int64)
        )

    def _item_rows(self, item_ids: Sequence[str]) -> NDArray[np.int64]:
        rows = self.catalog.rows
        for item in item_ids:
            if item not in rows:
                raise unknown("item", item, rows)
        return np.array([rows[item] for item in item_ids], dtype=np.int64)

    def _recommend(
        self, names: Sequence[str], asked: Histories, k: int, filter_seen: bool
    ) -> pa.Table:
        encoded = self.scorer.encode(asked)
        wanted = max(self.config.retrieval.candidates, k)
        longest = int(asked.lengths.max(initial=0)) if filter_seen else 0
        found = self.index.rows(
            self.scorer.index_queries(encoded.last), min(wanted + longest, len(self.index))
        )
        rows = np.where(found < 0, -1, self._index_rows[found])
        if filter_seen:
            rows = first_unseen(rows, asked, len(self.catalog), wanted)
        scores = self.scorer.rerank(encoded, asked, torch.from_numpy(np.maximum(rows, 0))).numpy()
        scores = np.where(rows < 0, -np.inf, scores)
        order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        best = np.take_along_axis(rows, order, axis=1)
        values = np.take_along_axis(scores, order, axis=1)
        real = best >= 0
        ranks = np.broadcast_to(np.arange(1, best.shape[1] + 1), best.shape)
        ids = self._id_array[best[real]]
        return recommendation_table(np.repeat(names, real.sum(1)), ids, values[real], ranks[real])

    @cached_property
    def _index_rows(self) -> NDArray[np.int64]:
        return np.flatnonzero(self.network.items.known.numpy())

    @cached_property
    def _id_array(self) -> NDArray[np.object_]:
        return np.array(self.catalog.item_ids, dtype=object)


def _check_k(k: int) -> None:
    if k < 1:
        raise InputError(f"k is {k}; give 1 or more")


def _bar(title: str, total: int, progress: bool) -> "tqdm[None]":
    return tqdm(total=total, desc=title, disable=not (progress and sys.stderr.isatty()))
