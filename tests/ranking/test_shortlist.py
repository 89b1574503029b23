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


def test_the_best_of_both_kinds_are_read():
    both = np.concatenate([np.arange(100), np.arange(150, 190)])
    columns = SHORT.columns(np.stack([both, both]), TRAINED).tolist()
    assert columns == [*range(60), *range(100, 110)]


def test_one_history_with_fewer_items_does_not_move_those_of_others():
    rows = np.concatenate([np.arange(70), np.arange(150, 170)])[None].repeat(2, axis=0)
    rows[1, 5:70] = rows[1, 71:] = -1
    assert SHORT.columns(rows, TRAINED).tolist() == SHORT.columns(rows[:1], TRAINED).tolist()


def test_few_candidates_are_all_read():
    rows = np.array([[3, 1, 2, 160], [4, -1, -1, -1]])
    assert SHORT.columns(rows, TRAINED).tolist() == [0, 1, 2, 3]


@given(st.integers(1, 4), st.integers(1, 9), st.data())
def test_what_is_not_read_counts_as_the_least_likely_of_what_is(b, n, data):
    drawn = st.lists(st.sampled_from([-1, 5]), min_size=n, max_size=n)
    rows = np.array([data.draw(drawn) for _ in range(b)])
    columns = np.array(sorted(data.draw(st.sets(st.integers(0, n - 1), min_size=1))))
    logits = np.random.default_rng(n).normal(size=(b, len(columns))).astype(np.float32)
    found = completed(logits, rows, columns)
    np.testing.assert_array_equal(found[:, columns], logits)
    assert np.isfinite(found).all()
    others = np.setdiff1d(np.arange(n), columns)
    for row in range(b):
        real = logits[row][rows[row, columns] >= 0]
        least = float(real.min()) if len(real) else 0.0
        assert (found[row, others] == least).all()


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
    none = np.empty((2, 0), np.int64)
    assert completed(np.empty((2, 0), np.float32), none, SHORT.columns(none, TRAINED)).shape == (
        2,
        0,
    )
