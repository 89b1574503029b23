"""The trie against one of Python dictionaries, and the lists that leave items out."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from p5mm.errors import InputError
from p5mm.retrieval import trie as trie_module
from p5mm.retrieval.trie import Trie

SHAPES = st.tuples(st.integers(1, 30), st.integers(1, 4))
CODES = SHAPES.flatmap(lambda shape: arrays.arrays(np.int64, shape, elements=st.integers(0, 4)))


def made(codes, dense=True):
    codes = np.unique(codes, axis=0)
    codes = codes[np.random.default_rng(0).permutation(len(codes))]
    rows = np.random.default_rng(1).permutation(len(codes) + 3)[: len(codes)]
    kept, trie_module.DENSE = trie_module.DENSE, trie_module.DENSE if dense else 1
    try:
        return codes, rows, Trie.of(codes, rows, len(codes) + 3)
    finally:
        trie_module.DENSE = kept


def dictionary(codes, rows):
    """Prefix to digits that go on, and to the items below."""
    onward, below = {}, {}
    for code, row in zip(codes.tolist(), rows.tolist(), strict=True):
        for at in range(len(code)):
            onward.setdefault(tuple(code[:at]), set()).add(code[at])
        for at in range(len(code) + 1):
            below.setdefault(tuple(code[:at]), set()).add(row)
    return onward, below


@settings(max_examples=40)
@given(CODES, st.booleans())
def test_children_are_those_of_a_dictionary(codes, dense):
    codes, rows, trie = made(codes, dense)
    onward, below = dictionary(codes, rows)
    prefixes = {0: ()}
    for level in range(trie.depth):
        nodes = torch.arange(trie.levels[level], trie.levels[level + 1])
        children = trie.children(nodes, level)
        for i, node in enumerate(nodes.tolist()):
            real = children.real[i]
            digits = children.digits[i][real].tolist()
            assert digits == sorted(onward[prefixes[node]])
            for child, digit in zip(children.nodes[i][real].tolist(), digits, strict=True):
                prefixes[child] = (*prefixes[node], digit)
    assert len(prefixes) == trie.levels[-1]
    for node, prefix in prefixes.items():
        assert int(trie.sizes(torch.tensor(node))) == len(below[prefix])
    leaves = torch.arange(trie.levels[-2], trie.levels[-1])
    assert [prefixes[leaf] for leaf in leaves.tolist()] == sorted(map(tuple, codes.tolist()))
    assert [below[prefixes[leaf]] for leaf in leaves.tolist()] == [
        {row} for row in trie.items(leaves).tolist()
    ]


@settings(max_examples=40)
@given(CODES)
def test_a_path_leads_to_its_item(codes):
    codes, rows, trie = made(codes)
    path = trie.path(torch.from_numpy(rows))
    np.testing.assert_array_equal(trie.digits[path[:, 1:]], codes)
    np.testing.assert_array_equal(trie.items(path[:, -1]), rows)
    assert (path[:, 0] == 0).all()


@settings(max_examples=40)
@given(CODES, st.lists(st.integers(-1, 32), max_size=12))
def test_items_of_a_list_below_every_node(codes, listed):
    codes, rows, trie = made(codes)
    listed = [row for row in listed if row < len(trie.places)]
    below = dictionary(codes, rows)[1]
    wanted = torch.tensor([[*listed, -1]])
    nodes = torch.arange(trie.levels[-1])[None]
    counts = trie.below(nodes, trie.ranks(wanted))[0].tolist()
    path = trie.path(torch.from_numpy(rows))
    for item, row in enumerate(rows.tolist()):
        for at, node in enumerate(path[item].tolist()):
            assert counts[node] == len(below[tuple(codes[item][:at])] & set(listed)), row


def test_one_item_and_none():
    trie = Trie.of(np.array([[3, 0]]), np.array([1]), 2)
    assert trie.children(torch.tensor([0]), 0).digits.tolist() == [[3]]
    assert trie.items(trie.path(torch.tensor([1]))[:, -1]).tolist() == [1]
    with pytest.raises(InputError, match="at least one"):
        Trie.of(np.empty((0, 2), dtype=np.int64), np.empty(0, dtype=np.int64), 2)
    with pytest.raises(InputError, match="the same code"):
        Trie.of(np.array([[1, 2], [1, 2]]), np.array([0, 1]), 2)
