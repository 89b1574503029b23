"""Digits as the decoder reads them, and what a node of the trie counts."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from p5mm.model.item_codes import NEARER, ItemCodes, shares
from p5mm.retrieval.trie import Trie


@settings(max_examples=30)
@given(
    st.tuples(st.integers(1, 30), st.integers(1, 4)).flatmap(
        lambda shape: arrays.arrays(np.int64, shape, elements=st.integers(0, 3))
    )
)
def test_a_node_counts_the_items_below(codes):
    codes = np.unique(codes, axis=0)
    trie = Trie.of(codes, np.arange(len(codes)), len(codes))
    weights = torch.rand(len(codes), dtype=torch.float64) + 0.1
    nodes = torch.arange(trie.levels[-1])
    summed = torch.tensor(
        [
            float(weights[trie.rows[low:high]].sum())
            for low, high in zip(trie.low.tolist(), trie.high.tolist(), strict=True)
        ]
    )
    later = torch.where(nodes >= trie.levels[-2], NEARER * trie.digits, 0.0)
    torch.testing.assert_close(shares(trie), trie.sizes(nodes).float().log() - later)
    torch.testing.assert_close(shares(trie, weights), summed.log() - later)


def test_a_code_is_read_as_the_points_that_it_reaches():
    books = torch.randn(3, 4, 8)
    codes = ItemCodes(books, torch.tensor([[1, 0, 3, 0], [2, 2, 2, 0]]))
    read = codes.read(codes.digits[:, :2])
    for row, (one, two) in enumerate([(1, 0), (2, 2)]):
        expected = torch.stack([books[0, one], books[0, one] + books[1, two]]) * 8**0.5
        torch.testing.assert_close(read[row], expected)
    assert codes.read(codes.digits[:, :0]).shape == (2, 0, 8)
    assert codes.trie(torch.tensor([0, 1])).rows.tolist() == [0, 1]
