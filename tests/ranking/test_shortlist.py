"""Which candidates the decoder reads, and what the others count as."""

from dataclasses import replace

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from p5mm.data.histories import Histories
from p5mm.ranking.scorer import DECODER
from p5mm.ranking.shortlist import Shortlist, completed

ASKED = Histories.from_lists([[3, 4, 5], [], [21, 22]])
TRAINED = np.arange(200) < 150
SHORT = Shortlist(60, 10)


def chosen(rows, short=SHORT):
    columns, there = short.columns(rows, TRAINED)
    return [line[real].tolist() for line, real in zip(columns, there, strict=True)]


def test_the_best_of_both_kinds_are_read():
    both = np.concatenate([np.arange(100), np.arange(150, 190)])
    assert chosen(both[None]) == [[*range(60), *range(100, 110)]]


ROWS = st.lists(st.integers(-1, 199), min_size=9, max_size=9)


@given(st.lists(ROWS, min_size=1, max_size=4), st.integers(0, 5), st.integers(0, 5))
def test_what_is_read_of_a_line_is_its_own(rows, taken, new):
    """Mixed kinds, such as a generator gives, and whoever else asks."""
    short = Shortlist(taken, new)
    expected = []
    for line in rows:
        kinds = [[c for c, row in enumerate(line) if row >= 0 and TRAINED[row] == kind]
                 for kind in (True, False)]  # fmt: skip
        expected.append(sorted(kinds[0][:taken] + kinds[1][:new]))
    assert chosen(np.array(rows), short) == expected


@given(st.integers(1, 4), st.integers(1, 9), st.data())
def test_what_is_not_read_counts_as_the_least_likely_of_what_is(b, n, data):
    drawn = st.lists(st.integers(-1, 199), min_size=n, max_size=n)
    rows = np.array([data.draw(drawn) for _ in range(b)])
    columns, there = Shortlist(2, 1).columns(rows, TRAINED)
    logits = np.random.default_rng(n).normal(size=columns.shape).astype(np.float32)
    found = completed(logits, columns, there, n)
    for line in range(b):
        real = logits[line][there[line]]
        read = columns[line][there[line]]
        np.testing.assert_array_equal(found[line, read], real)
        least = real.min() if len(real) else 0.0
        assert (found[line, np.setdiff1d(np.arange(n), read)] == least).all()


def test_recommendations_read_a_shortlist(toy):
    """Those read score as if asked alone; the others by the retriever and the least logit."""
    scorer = toy.scorer.weighing({**toy.scorer.weights, DECODER: 0.7})
    encoded = scorer.encode(ASKED)
    rows = scorer.retrieve(encoded, ASKED)[:, :12]
    candidates = torch.from_numpy(rows)
    alone = scorer.rerank(encoded, ASKED, candidates).numpy()
    np.testing.assert_allclose(scorer.competing(encoded, ASKED, rows), alone, atol=1e-5)
    few = replace(scorer, asking=replace(scorer.asking, shortlist=Shortlist(3, 10)))
    short = few.competing(encoded, ASKED, rows)
    np.testing.assert_allclose(short[:, :3], alone[:, :3], atol=1e-5)
    logits = scorer.part(DECODER, encoded, ASKED, candidates)
    change = 0.7 * (logits[:, :3].amin(dim=1, keepdim=True) - logits[:, 3:])
    assert change.abs().max() > 0.01
    np.testing.assert_allclose(short[:, 3:], alone[:, 3:] + change.numpy(), atol=1e-5)


def test_nobody_has_no_least():
    nobody = np.full((2, 3), -1)
    columns, there = SHORT.columns(nobody, TRAINED)
    assert columns.shape == (2, 1)
    assert not completed(np.ones((2, 1), np.float32), columns, there, 3).any()
