"""Several values of a pair of items, found by one search."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray


@dataclass(frozen=True)
class PairValues:
    """Sparse matrices side by side.

    Attributes:
        places: ``[n, n]`` CSR int32, the row of ``values`` of each pair that any matrix has; 0
            where none has it.
        values: ``[1 + pairs, m]`` float32, of each matrix; row 0 is zero.
    """

    places: Any
    values: NDArray[np.float32]

    @classmethod
    def of(cls, matrices: Sequence[Any]) -> "PairValues":
        """Of ``m`` CSR ``[n, n]`` with sorted columns, at least one."""
        entries = [_without_zeros(matrix) for matrix in matrices]
        patterns = [_filled(each, np.ones(each.nnz, dtype=np.int32)) for each in entries]
        there = sum(patterns[1:], patterns[0])
        there.sort_indices()
        places = _filled(there, np.arange(1, 1 + there.nnz, dtype=np.int32))
        values = np.zeros((1 + there.nnz, len(matrices)), dtype=np.float32)
        for column, (each, pattern) in enumerate(zip(entries, patterns, strict=True)):
            values[places.multiply(pattern).data, column] = each.data
        return cls(places, values)

    def __call__(
        self, rows: NDArray[np.int64], candidates: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """``[b, n, s, m]`` at rows ``[b, s]`` and columns ``candidates`` ``[b, n]``."""
        b, n, s = len(rows), candidates.shape[1], rows.shape[1]
        asked, past = np.unique(rows, return_inverse=True)
        past = np.broadcast_to(past.reshape(b, 1, s), (b, n, s)).ravel()
        own = np.broadcast_to(candidates[..., None], (b, n, s)).ravel()
        # scipy looks at a whole matrix before it looks anything up, so it gets a small one; and it
        # gives a matrix where none is asked for
        found = np.asarray(self.places[asked][past, own] if past.size else [], dtype=np.int64)
        return self.values[found.ravel()].reshape(b, n, s, self.values.shape[1])


def _without_zeros(matrix: Any) -> Any:
    if not (matrix.has_sorted_indices and matrix.data.all()):
        matrix = matrix.sorted_indices()
        matrix.eliminate_zeros()
    return matrix


def _filled(matrix: Any, data: NDArray[Any]) -> Any:
    """CSR with the pairs of another and other values of them."""
    return sp.csr_matrix((data, matrix.indices, matrix.indptr), shape=matrix.shape)
