"""Items of an index that are nearly the same: equal contents, and vectors that are very alike."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from p5mm.errors import InputError, unknown
from p5mm.indexing.catalog_index import CatalogIndex
from p5mm.indexing.vectors import unit
from p5mm.progress import progress
from p5mm.retrieval.index import VectorIndex

ALIKE = 0.85
"""A cosine that copies of a photo reach with the embedded encoder, and others do not."""
EXACT_UP_TO = 30_000  # vectors; of more the nearest are looked for in inverted lists
NEAREST, BATCH = 32, 1024


@dataclass(frozen=True)
class Group:
    """Items that are nearly the same.

    Attributes:
        item_ids: In the order of the index.
        likeness: The least cosine between the first and another.
        same: Whether the contents of all are equal, byte by byte.
    """

    item_ids: tuple[str, ...]
    likeness: float
    same: bool


def duplicates(
    index: CatalogIndex, modality: str | None = None, threshold: float = ALIKE
) -> list[Group]:
    """Groups of near-duplicates, the surest first; in a group each is alike to some other.

    Up to 30,000 different vectors all pairs are compared, beyond that those that an approximate
    index finds.

    Args:
        index: With vectors of the modality.
        modality: By which; by default "image" where it has it, else its first.
        threshold: The cosine from which two items are alike.

    Raises:
        InputError: There is no such modality, or the threshold is not above 0 and at most 1.
    """
    if not 0 < threshold <= 1:
        raise InputError(f"the threshold is {threshold}; give a cosine above 0, at most 1")
    names = list(index.features)
    modality = modality or ("image" if "image" in names else names[0])
    if modality not in names:
        raise unknown("modality", modality, names)
    rows = np.flatnonzero(index.features[modality].present)
    vectors = unit(index.features[modality].vectors[rows])
    first = _first_equal(vectors)
    lone = np.unique(first)
    pairs = [np.stack([np.arange(len(rows)), first], axis=1)]
    pairs += [lone[pair] for pair in _alike(vectors[lone], threshold)]
    return _groups(index, modality, rows, vectors, np.concatenate(pairs))


def _first_equal(vectors: NDArray[np.float32]) -> NDArray[np.int64]:
    """``[n]`` the first row with the very same vector."""
    seen: dict[bytes, int] = {}
    return np.array([seen.setdefault(v.tobytes(), row) for row, v in enumerate(vectors)], np.int64)


def _alike(vectors: NDArray[np.float32], threshold: float) -> Iterator[NDArray[np.int64]]:
    """Pairs of rows ``[m, 2]`` whose cosine reaches the threshold, of each row's nearest."""
    n = len(vectors)
    if n < 2:
        return
    kind = "exact" if n <= EXACT_UP_TO else "ivf"
    found = VectorIndex.build([str(row) for row in range(n)], vectors, kind)
    with progress("compare", n) as bar:
        for start in range(0, n, BATCH):
            some = vectors[start : start + BATCH]
            rows, scores = found.rows_and_scores(some, min(NEAREST, n))
            line, place = np.nonzero((scores >= threshold) & (rows >= 0))
            yield np.stack([line + start, rows[line, place]], axis=1)
            bar.update(len(some))


def _groups(
    index: CatalogIndex,
    modality: str,
    rows: NDArray[np.int64],
    vectors: NDArray[np.float32],
    pairs: NDArray[np.int64],
) -> list[Group]:
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    links = coo_matrix((np.ones(len(pairs), bool), pairs.T), shape=(len(rows), len(rows)))
    label = connected_components(links, directed=False)[1]
    order = np.argsort(label, kind="stable")
    members = np.split(order, np.flatnonzero(np.diff(label[order])) + 1)
    keys = _keys(index, modality, rows)
    groups = [
        Group(
            tuple(index.item_ids[rows[row]] for row in of),
            float(np.clip((vectors[of] @ vectors[of[0]]).min(), -1, 1)),
            bool((keys[of] == keys[of[0]]).all() and keys[of[0]].any()),
        )
        for of in members
        if len(of) > 1
    ]
    return sorted(groups, key=lambda group: (not group.same, -round(group.likeness, 6)))


def _keys(index: CatalogIndex, modality: str, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
    """``[m, 16]`` the contents of some rows; zero where they are not known."""
    if modality in index.marks:
        return index.marks[modality].keys[rows]
    return np.zeros((len(rows), 1), np.uint8)
