"""One search a pair gives what each matrix has."""

import numpy as np
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from p5mm.evidence.pair_values import PairValues

N = 5
MATRIX = st.lists(st.sampled_from([0.0, 0.0, 0.0, 1.0, 2.5]), min_size=N * N, max_size=N * N)
ROWS = st.lists(st.integers(0, N - 1), min_size=3, max_size=3)


@given(st.lists(MATRIX, min_size=1, max_size=3), st.lists(st.tuples(ROWS, ROWS), max_size=4))
@settings(max_examples=60)
def test_values_are_those_of_the_matrices(matrices, asked):
    dense = [np.array(m, dtype=np.float32).reshape(N, N) for m in matrices]
    rows = np.array([r for r, _ in asked], dtype=np.int64).reshape(-1, 3)
    candidates = np.array([c for _, c in asked], dtype=np.int64).reshape(-1, 3)
    found = PairValues.of([sp.csr_matrix(m) for m in dense])(rows, candidates)
    assert found.shape == (len(asked), 3, 3, len(dense))
    assert found.dtype == np.float32
    for user, (past, own) in enumerate(asked):
        for n, candidate in enumerate(own):
            for s, item in enumerate(past):
                assert found[user, n, s].tolist() == [m[item, candidate] for m in dense]


def test_stored_zeros_are_no_pairs():
    stored = sp.csr_matrix((np.array([0.0, 1.0]), ([0, 1], [1, 2])), shape=(N, N))
    made = PairValues.of([stored, sp.csr_matrix((N, N))])
    assert len(made.values) == 2
    assert stored.nnz == 2  # what is given stays as it was
