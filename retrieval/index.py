"""Vectors under the items' own ids, and the best of them for a query, by faiss."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from p5mm.errors import InputError
from p5mm.plain import check_type, read_json, reading
from p5mm.retrieval.gpus import on_gpus
from p5mm.retrieval.selected import Selected
from p5mm.retrieval.several import Several
from p5mm.retrieval.stored import REMEDY, check_size, read_faiss, write_faiss
from p5mm.retrieval.ties import MARGIN, order_ties
from p5mm.retrieval.tuning import choose_product, factory_string, import_faiss, tune

FORMAT = 1
LEARNED_FROM = 64  # vectors a list; faiss's 256 take thrice the time, and the lists are no better
NEAR = 1e-6  # share of the best score that tied scores lie apart at most
ABOUT = {"format": int, "items": int, "dim": int, "factory": str, "recall@100": float}


class VectorIndex:
    """The items with the largest inner product, exactly or approximately.

    What is promised of recall@100, on the queries that the index was tuned with: "exact" 1; "ivf",
    "hnsw" and "ivf-fp16" (16 bits a dimension) at least .99, as all can be made to look at all
    vectors; of "ivf-sq8" (8 bits) and of a faiss factory string nothing but that ``recall`` is
    true.

    Attributes:
        item_ids: The id of every row.
        factory: The faiss factory string of the index: "Flat" is exact.
        recall: Recall@100 against exact search, measured when built; 1.0 for an exact index.

    Example:
        >>> index = VectorIndex.build(["apple", "car"], np.eye(2, dtype=np.float32))
        >>> index.search(np.array([[0.2, 0.9]], dtype=np.float32), k=1)[0]
        [['car']]
    """

    def __init__(self, item_ids: Sequence[str], index: Any, factory: str, recall: float) -> None:
        self.item_ids = tuple(item_ids)
        self.factory = factory
        self.recall = recall
        self._index = index
        self._search = on_gpus(index) if self.is_one else index
        self._names = np.array(self.item_ids, dtype=object)

    @classmethod
    def build(
        cls,
        item_ids: Sequence[str],
        vectors: NDArray[np.float32],
        kind: str = "auto",
        seed: int = 0,
        queries: NDArray[np.float32] | None = None,
    ) -> "VectorIndex":
        """An index over ``vectors``, tuned towards recall@100 >= .99 where it is approximate.

        Args:
            item_ids: ``n`` ids, each once.
            vectors: ``[n, d]`` float32.
            kind: "auto" (by size), "exact", "ivf", "hnsw", "ivf-fp16", "ivf-sq8", a memory
                that it may take such as "2GB", or a faiss factory string.
            seed: Of the clustering, and of the sample of queries.
            queries: ``[q, d]`` float32 like those to come, for the tuning; without it a sample
                of the vectors themselves.

        Raises:
            InputError: No vectors, NaN or infinite vectors or such as 16 bits do not hold, ids that
                do not fit, unknown kind, or one that asks for too little memory.
        """
        faiss = import_faiss()
        vectors = _checked(vectors, "item vectors")
        _check_ids(item_ids, len(vectors))
        factory = factory_string(kind, *vectors.shape)
        _check_halves(vectors, factory)
        index = faiss.index_factory(vectors.shape[1], factory, faiss.METRIC_INNER_PRODUCT)
        ivf = faiss.try_extract_index_ivf(index)
        if ivf is not None:
            ivf.cp.seed, ivf.cp.max_points_per_centroid = seed + 1, LEARNED_FROM
            ivf.cp.min_points_per_centroid = 1  # a segment may be small; faiss would warn
        if not index.is_trained:
            index.train(vectors)
        index.add(vectors)
        exact = factory == "Flat"
        recall = 1.0 if exact else tune(index, vectors, queries=queries, seed=seed)
        return cls(item_ids, index, factory, recall)

    @classmethod
    def joined(cls, indexes: Sequence["VectorIndex"]) -> "VectorIndex":
        """Some indexes of one dimension searched as one; the rows of each follow the last one's.

        It cannot be saved. ``recall`` is that of the worst.
        """
        if len(indexes) == 1:
            return indexes[0]
        item_ids = [item for index in indexes for item in index.item_ids]
        several = Several([index._index for index in indexes], [len(index) for index in indexes])
        factory = " + ".join(dict.fromkeys(index.factory for index in indexes))
        return cls(item_ids, several, factory, min(index.recall for index in indexes))

    def __len__(self) -> int:
        return len(self.item_ids)

    @property
    def is_one(self) -> bool:
        """Whether it is one whole index of faiss, which can be saved."""
        return not isinstance(self._index, (Selected, Several))

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return int(self._index.d)

    def search(
        self, queries: NDArray[np.float32], k: int
    ) -> tuple[list[list[str]], NDArray[np.float32]]:
        """The ids of the best items of each query, and their scores, best first.

        Args:
            queries: ``[b, d]`` float32.
            k: How many; at most all items are returned.

        Returns:
            ``b`` lists of ids, and scores ``[b, min(k, n)]``. An approximate index may find
            fewer than ``k``: its list is shorter then, and the scores end in -inf.

        Raises:
            InputError: Wrong dimension, NaN, or ``k`` below 1.
        """
        rows, scores = self.rows_and_scores(queries, k)
        if rows.size and rows.min() < 0:
            return [self._names[line[line >= 0]].tolist() for line in rows], scores
        return self._names[rows].tolist(), scores

    def rows(self, queries: NDArray[np.float32], k: int) -> NDArray[np.int64]:
        """The rows of the best items: ``[b, min(k, n)]`` int64, -1 where none was found."""
        return self.rows_and_scores(queries, k)[0]

    def rows_and_scores(
        self, queries: NDArray[np.float32], k: int
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Rows and scores of the best items, best first; ties stand in row order."""
        if k < 1:
            raise InputError(f"k is {k}; ask for at least 1 item")
        queries = _checked(queries, "queries", self.dim)
        if not len(self):  # of an index of some rows none may be found
            return np.empty((len(queries), 0), np.int64), np.empty((len(queries), 0), np.float32)
        choose_product(len(queries))
        scores, rows = self._search.search(queries, min(k + MARGIN, len(self)))
        if rows[:, -1].min(initial=0) < 0:  # what was not found stands at the end
            scores[rows < 0] = -np.inf
        order_ties(rows, scores, NEAR * np.abs(scores[:, :1]))
        return rows[:, :k], scores[:, :k]

    def among(self, rows: NDArray[np.int64]) -> "VectorIndex":
        """The same index when only some rows ``[m]``, ascending, may be found.

        Rows of what it finds are places in ``rows``. An exact index is cut down; an approximate one
        is searched as it is, by faiss's own selector.
        """
        item_ids = [self.item_ids[row] for row in rows.tolist()]
        if self.factory == "Flat" and self.is_one:
            faiss = import_faiss()
            vectors = faiss.rev_swig_ptr(self._index.get_xb(), len(self) * self.dim)
            part = faiss.IndexFlatIP(self.dim)
            part.add(vectors.reshape(-1, self.dim)[rows])
            return VectorIndex(item_ids, part, self.factory, self.recall)
        whole = self._index
        part = whole.among(rows) if not self.is_one else Selected(whole, rows)
        return VectorIndex(item_ids, part, self.factory, self.recall)

    def save(self, folder: str | Path) -> None:
        """Writes index.faiss, ids.parquet and index.json into a folder.

        Raises:
            OSError: A file cannot be written.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        write_faiss(self._index, folder / "index.faiss")
        pq.write_table(
            pa.table({"item_id": pa.array(self.item_ids, pa.string())}), folder / "ids.parquet"
        )
        about = {
            "format": FORMAT,
            "items": len(self),
            "dim": self.dim,
            "factory": self.factory,
            "recall@100": self.recall,
        }
        (folder / "index.json").write_text(json.dumps(about, indent=2) + "\n")

    @classmethod
    def load(cls, folder: str | Path) -> "VectorIndex":
        """The index that ``save`` wrote.

        Raises:
            InputError: A file is missing or broken, or the files do not belong together.
        """
        folder = Path(folder)
        about = read_about(folder / "index.json")
        factory, items, path = about["factory"], about["items"], folder / "index.faiss"
        with reading(path, REMEDY):
            index = read_faiss(path, factory, items, about["dim"])
        item_ids = _read_ids(folder / "ids.parquet", items)
        return cls(item_ids, index, factory, float(about["recall@100"]))


def check_files(folder: Path) -> None:
    """See that a saved index is whole by sizes and headers; no vector is read.

    Of an approximate index it shows only whether its files are there.

    Raises:
        InputError: A file is missing, cut, or broken.
    """
    about = read_about(folder / "index.json")
    with reading(folder / "index.faiss", REMEDY):
        check_size(folder / "index.faiss", about["factory"], about["items"], about["dim"])
    _check_count(folder / "ids.parquet", about["items"])


def stored_size(folder: Path) -> int:
    """The bytes of a saved index without its ids: about what faiss takes of memory for it.

    Raises:
        OSError: It is not there.
    """
    return (folder / "index.faiss").stat().st_size


def check_index(index: VectorIndex, item_ids: Sequence[str], dim: int) -> None:
    """Check that an index holds these items in this order, as vectors of ``dim``.

    Raises:
        InputError: It holds others.
    """
    if index.dim != dim:
        raise InputError(f"its vectors have {index.dim} dimensions; {dim} are needed")
    if list(index.item_ids) != list(item_ids):
        raise InputError("its ids are not those of the catalog's items, in their order")


def read_about(path: Path) -> dict[str, Any]:
    """What the index.json of a saved index says: see ``ABOUT``.

    Raises:
        InputError: It is missing or broken.
    """
    about = read_json(path, REMEDY)
    with reading(path, REMEDY):
        for name, kind in ABOUT.items():
            check_type(about.get(name), kind, name)
        if about["format"] != FORMAT or not 0 <= about["recall@100"] <= 1:
            raise InputError(f"format {about['format']}, recall {about['recall@100']}")
    return about


def _check_count(path: Path, items: int) -> None:
    with reading(path, REMEDY):
        rows = pq.read_metadata(path).num_rows
        if rows != items:
            raise InputError(f"it holds {rows} ids for {items} items")


def _read_ids(path: Path, items: int) -> list[str]:
    _check_count(path, items)
    with reading(path, REMEDY):
        table = pq.read_table(path)
        if table.schema.names != ["item_id"] or table.schema.types != [pa.string()]:
            raise InputError("it must have one column, item_id, of strings")
        table.validate(full=True)
        if table["item_id"].null_count:
            raise InputError("an id is missing")
        item_ids: list[str] = table["item_id"].to_pylist()
        _check_ids(item_ids, items)
        return item_ids


def _checked(vectors: NDArray[Any], what: str, dim: int | None = None) -> NDArray[np.float32]:
    array = np.ascontiguousarray(vectors, dtype=np.float32)
    if array.ndim != 2 or array.shape[1] == 0:
        raise InputError(f"{what} have shape {array.shape}; give a table [n, d]")
    if dim is None and len(array) == 0:
        raise InputError(f"there are no {what}; an index needs at least one")
    if dim is not None and array.shape[1] != dim:
        raise InputError(f"{what} have {array.shape[1]} dimensions; the index has {dim}")
    # The sum is NaN or infinite if any entry is; far cheaper than np.isfinite over all.
    if not np.isfinite(array.sum(dtype=np.float64)):
        bad = np.flatnonzero(~np.isfinite(array).all(axis=1))
        raise InputError(f"{what} hold NaN or infinite values, first in row {bad[0]}")
    return array


def _check_halves(vectors: NDArray[np.float32], factory: str) -> None:
    if "SQfp16" not in factory:
        return
    most, held = max(vectors.max(), -vectors.min()), np.finfo(np.float16).max  # makes no copy
    if most > held:
        raise InputError(f"item vectors reach {most:g}; 16 bits hold {held:g}: scale them down")


def _check_ids(item_ids: Sequence[str], n: int) -> None:
    if len(item_ids) != n:
        raise InputError(f"{len(item_ids)} item ids for {n} vectors; give one each")
    if len(set(item_ids)) != n:
        raise InputError("an item id occurs twice; give each item once")
