"""What a history says of a candidate without a network: taken together, alike in content."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor
from torch.nn import functional as F

from p5mm.data.histories import Histories
from p5mm.evidence.recency import recency
from p5mm.evidence.words import Words

NEIGHBOURS = "neighbours"
CONTENT = "content."
WORDS = "words"


@dataclass(frozen=True)
class ItemSimilarity:
    """Similarities between the items of a history, recent ones more, and a candidate.

    Attributes:
        neighbours: ``[n, n]`` CSR; row i holds the neighbours of item i.
        content: Modality to unit vectors ``[n, dim]``, zero where an item lacks it.
        decay: An item j places before the last of a history weighs decay^j.
        words: Of the items' texts; None where they are not compared.
    """

    neighbours: Any
    content: Mapping[str, Tensor]
    decay: float
    words: Words | None = None

    @classmethod
    def of(cls, neighbours: Any, content: Mapping[str, Tensor], decay: float) -> "ItemSimilarity":
        """Of neighbours and of content vectors ``[n, dim]`` of any length."""
        unit = {CONTENT + name: F.normalize(v, dim=1) for name, v in content.items()}
        return cls(neighbours, unit, decay)

    @property
    def names(self) -> tuple[str, ...]:
        """``neighbours``, and ``content.`` with each modality."""
        return (NEIGHBOURS, *self.content)

    def __call__(self, name: str, histories: Histories, candidates: Tensor) -> Tensor:
        """One kind of similarity ``[b, n]`` float32 for candidate rows ``[b, n]``."""
        weights = recency(histories, self.neighbours.shape[0], self.decay)
        if name == NEIGHBOURS:
            reached = (weights @ self.neighbours).tocsr()
            rows = np.arange(len(histories))[:, None]
            return torch.from_numpy(np.asarray(reached[rows, np.array(candidates)].todense()))
        if name == WORDS and self.words is not None:
            return self.words(weights, candidates)
        vectors = self.content[name]
        wanted = F.normalize(torch.from_numpy(weights @ vectors.numpy()), dim=1)
        if candidates.numel() > 8 * len(vectors):  # most items are asked for several times
            return (wanted @ vectors.T).gather(1, candidates)
        return (F.embedding(candidates, vectors) @ wanted[..., None]).squeeze(-1)


def cooccurrence(histories: Histories, n_items: int) -> Any:
    """``[n_items, n_items]`` CSR: how many histories hold both items."""
    matrix = recency(histories, n_items, 1.0)
    return (matrix.T @ matrix).tocsr()


def cosine_neighbours(counts: Any, kept: int, shrink: float = 0.0) -> Any:
    """Shrunk cosine of item columns (Sarwar et al. 2001; shrinkage of Bell and Koren 2007).

    Args:
        counts: Of ``cooccurrence``.
        kept: Most similar items kept of each item.
        shrink: Added to the cosine's norm.

    Returns:
        ``[n_items, n_items]`` CSR float32; row i has the neighbours of item i.
    """
    taken = counts.diagonal()
    pairs = counts.astype(np.float32).tocoo()
    norm = np.sqrt(taken[pairs.row] * taken[pairs.col]) + shrink
    data = np.where(pairs.row == pairs.col, 0, pairs.data / norm)
    return strongest(sp.coo_matrix((data, (pairs.row, pairs.col)), shape=pairs.shape), kept)


def strongest(matrix: Any, kept: int) -> Any:
    """CSR float32 of the ``kept`` highest positive values of each row; of equals the first."""
    whole = matrix.tocsr()
    lengths, values = np.diff(whole.indptr), whole.data
    least = np.zeros(len(lengths), dtype=values.dtype)  # of the values of each row that are kept
    for row in np.flatnonzero(lengths > kept).tolist():
        part = values[whole.indptr[row] : whole.indptr[row + 1]]
        least[row] = max(np.partition(part, len(part) - kept)[len(part) - kept], 0)
    bound = np.repeat(least, lengths)
    keep = values > bound
    equal = np.flatnonzero((values == bound) & (values > 0))
    of_row = np.searchsorted(whole.indptr, equal, side="right") - 1
    order = np.lexsort((whole.indices[equal], of_row))
    equal, of_row = equal[order], of_row[order]
    missing = kept - np.diff(np.searchsorted(np.flatnonzero(keep), whole.indptr))
    number = np.arange(len(equal)) - np.searchsorted(of_row, of_row)
    keep[equal[number < missing[of_row]]] = True
    places = np.flatnonzero(keep)
    entries = (values[places].astype(np.float32), whole.indices[places])
    starts = np.searchsorted(places, whole.indptr)
    strong = sp.csr_matrix((*entries, starts), shape=whole.shape)
    strong.sort_indices()  # a pair is looked up faster
    return strong
