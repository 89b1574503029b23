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
        shape = matrices[0].shape
        there = sum(((matrix != 0).astype(np.int32) for matrix in matrices), sp.csr_matrix(shape))
        there = there.tocsr()
        there.sort_indices()
        keys = _keys(there)
        values = np.zeros((1 + len(keys), len(matrices)), dtype=np.float32)
        for column, matrix in enumerate(matrices):
            entries = matrix.copy()
            entries.eliminate_zeros()
            values[1 + np.searchsorted(keys, _keys(entries)), column] = entries.data
        numbered = np.arange(1, 1 + len(keys), dtype=np.int32)
        places = sp.csr_matrix((numbered, there.indices, there.indptr), shape=shape)
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


def _keys(matrix: Any) -> NDArray[np.int64]:
    """``[entries]`` one ascending number a pair of a CSR with sorted columns."""
    rows = np.repeat(np.arange(matrix.shape[0], dtype=np.int64), np.diff(matrix.indptr))
    keys: NDArray[np.int64] = rows * matrix.shape[1] + matrix.indices
    return keys
