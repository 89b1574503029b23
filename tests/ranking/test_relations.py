"""Relations of candidates to the items of a history, against plain loops."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from p5mm.data.histories import Histories
from p5mm.model.relation_reader import FACTS, pooled
from p5mm.ranking.relations import FADING, WITHIN, Counts, Relations, transitions

ITEMS, KEPT = 8, 300
LOG = Histories.from_lists([[0, 1, 2], [1, 2, 3], [4, 1], [5], []])
ASKED = Histories.from_lists([[0, 1, 2, 3, 4], [], [6]])
CANDIDATES = torch.tensor([[5, 1, 7], [0, 2, 4], [6, 6, 3]])
REACH = 3


def relations(ratings=None):
    torch.manual_seed(0)
    content = {"text": torch.randn(ITEMS, 4)}
    content["text"][7] = 0.0  # item 7 has no text
    learned = F.normalize(torch.randn(ITEMS, 5), dim=1)
    counts = Counts.of(LOG, ITEMS, KEPT)
    return Relations.of(counts, content, learned, REACH, (3.0, 2.0))


@given(st.lists(st.lists(st.integers(0, 5), unique=True, max_size=6), min_size=1, max_size=5))
@settings(max_examples=40, deadline=None)
def test_transitions_are_counted_forwards_and_fade(lists):
    log = Histories.from_lists(lists)
    taken = np.bincount(log.items, minlength=6).astype(np.float32)
    expected = np.zeros((6, 6))
    for items in lists:
        for i, first in enumerate(items):
            for j, then in enumerate(items[i + 1 : i + 1 + WITHIN]):
                expected[first, then] += FADING**j / np.sqrt((taken[first] + 1) * (taken[then] + 1))
    np.testing.assert_allclose(transitions(log, taken, KEPT).toarray(), expected, atol=1e-6)


def test_only_the_strongest_transitions_are_kept():
    taken = np.bincount(LOG.items, minlength=ITEMS).astype(np.float32)
    assert np.diff(transitions(LOG, taken, 1).indptr).max() == 1


def test_relations_are_looked_up_pair_by_pair():
    made = relations()
    found = made(ASKED, CANDIDATES)
    assert made.names == ("together", "after", "text", "learned", "rating")
    assert found.shape == (3, 3, REACH, 5)
    together, after = made.counts.together.toarray(), made.counts.after.toarray()
    for row, history in enumerate([[4, 3, 2], [], [6]]):
        for column, item in enumerate(CANDIDATES[row].tolist()):
            for place in range(REACH):
                if place >= len(history):
                    assert not found[row, column, place].any()
                    continue
                past = history[place]
                if past == item:
                    assert not found[row, column, place].any()
                    continue
                expected = [
                    together[past, item], after[past, item],
                    float(made.vectors["text"][past] @ made.vectors["text"][item]),
                    float(made.vectors["learned"][past] @ made.vectors["learned"][item]), 0.0,
                ]  # fmt: skip
                assert found[row, column, place].tolist() == pytest.approx(expected, abs=1e-6)


def test_a_request_alone_has_the_same_relations():
    made = relations()
    together = made(ASKED, CANDIDATES)
    for row in range(3):
        alone = made(ASKED.select(np.array([row])), CANDIDATES[row : row + 1])
        short = alone.shape[2]
        torch.testing.assert_close(together[row : row + 1, :, :short], alone)
        torch.testing.assert_close(pooled(together)[row], pooled(alone)[0])


def test_ratings_are_in_units_and_unknown_ones_the_mean():
    ratings = np.array([1, 2, 3, 5, np.nan, 1], dtype=np.float32)
    rated = Histories(ASKED.items, ASKED.offsets, ratings)
    found = relations()(rated, CANDIDATES)[..., -1]
    assert found[0, 0].tolist() == [0.0, 1.0, 0.0]
    assert found[2, 2].tolist() == [-1.0, 0.0, 0.0]


def test_facts_of_a_candidate():
    logits = torch.randn(3, 3)
    facts = relations().facts(logits, ASKED, CANDIDATES)
    assert facts.shape[-1] == len(FACTS)
    torch.testing.assert_close(facts[..., 0], logits)
    assert facts[0, 1, 1] == pytest.approx(np.log1p(3))  # three took item 1
    taken = torch.from_numpy(relations().counts.taken)[CANDIDATES]
    assert torch.equal(facts[..., 2] == 1, taken == 0)
    assert facts[0, :, 3].tolist() == pytest.approx([np.log1p(5)] * 3)


def test_what_nobody_took_is_new():
    kept, hidden = relations(), [1]
    facts = replace(kept, counts=kept.counts.without(hidden)).facts(
        torch.zeros(CANDIDATES.shape), ASKED, CANDIDATES
    )
    assert (CANDIDATES == 1).any()
    assert (facts[..., 2][CANDIDATES == 1] == 1).all()


def test_counts_without_some_items_have_no_pair_of_them():
    counts, hidden = relations().counts, [1, 2]
    left = counts.without(hidden)
    for name in ("together", "after"):
        expected = getattr(counts, name).toarray()
        assert expected[hidden].any()
        expected[hidden], expected[:, hidden] = 0, 0
        np.testing.assert_array_equal(getattr(left, name).toarray(), expected)
    assert (left.taken[hidden] == 0).all()


def test_pooled_relations_by_hand():
    given_ = torch.tensor([[0.5], [-1.0], [2.0]])
    sums = [0.5 - d + 2.0 * d * d for d in (0.3, 0.6, 0.9)]
    assert pooled(given_).tolist() == pytest.approx([0.5, 2.0, *sums])
    assert pooled(torch.tensor([[-1.0]]))[1] == 0.0  # no item is as good as an unrelated one


def test_more_items_have_nothing_counted():
    counts = Counts.of(LOG, ITEMS, KEPT)
    grown = counts.grown(ITEMS + 2)
    assert grown.together.shape == grown.after.shape == (ITEMS + 2, ITEMS + 2)
    assert grown.taken.tolist() == [*counts.taken, 0.0, 0.0]
    assert (grown.after[:ITEMS, :ITEMS] != counts.after).nnz == 0
    assert counts.together.shape == (ITEMS, ITEMS)
