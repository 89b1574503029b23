"""What each item adds to the prediction of another, beside the other's other neighbours."""

from typing import Any

import numpy as np
import scipy.sparse as sp

from p5mm.evidence.similarity import strongest

NEIGHBOURS = 100  # of an item, that predict it
RIDGE = 100.0
LEAST = 1e-4


def slim(both: Any, near: Any) -> Any:
    """``[n, n]`` CSR float32; row i, column j: the weight of i in a regression of j.

    SLIM with feature selection (Ning and Karypis 2011), an item's nearest neighbours alone, by
    ridge in closed form as in EASE (Steck 2019, equation 8); weights below 0 are left out after
    it. Where two neighbours say the same of an item, cosines count it twice; these weights share
    it.

    Args:
        both: ``[n, n]`` CSR, how many users took both items; on its diagonal, the one.
        near: ``[n, n]`` CSR, how near items are.
    """
    near, rows, columns, weights = strongest(near, NEIGHBOURS), [], [], []
    for item in range(both.shape[0]):
        others = near.indices[near.indptr[item] : near.indptr[item + 1]]
        if not len(others):
            continue
        taken = both[others][:, [*others, item]].toarray().astype(np.float64)
        found = np.linalg.solve(taken[:, :-1] + RIDGE * np.eye(len(others)), taken[:, -1])
        rows.append(others)
        columns.append(np.full(len(others), item))
        weights.append(found)
    if not rows:
        return sp.csr_matrix(both.shape, dtype=np.float32)
    weight = np.concatenate(weights)
    entries = (np.where(weight > LEAST, weight, 0), (np.concatenate(rows), np.concatenate(columns)))
    return strongest(sp.coo_matrix(entries, shape=both.shape), both.shape[0])
