"""Relations of candidates to the items of a history, against plain loops."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from p5mm.data.histories import Histories
from p5mm.evidence.counts import PAIRS, Counts
from p5mm.evidence.relations import Relations
from p5mm.model.relation_reader import FACTS, pooled

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


def test_relations_are_looked_up_pair_by_pair():
    made = relations()
    found = made(ASKED, CANDIDATES)
    assert made.names == (
        "together", "after", "slim", "text", "learned", "rating",
    )  # fmt: skip
    assert found.shape == (3, 3, REACH, 6)
    pairs = [getattr(made.counts, name).toarray() for name in PAIRS]
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
                cosines = [
                    float(made.vectors[name][past] @ made.vectors[name][item])
                    for name in ("text", "learned")
                ]
                expected = [*(matrix[past, item] for matrix in pairs), *cosines, 0.0]
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


def test_pooled_relations_by_hand():
    given_ = torch.tensor([[0.5], [-1.0], [2.0]])
    sums = [0.5 - d + 2.0 * d * d for d in (0.3, 0.6, 0.9)]
    assert pooled(given_).tolist() == pytest.approx([0.5, 2.0, *sums])
    assert pooled(torch.tensor([[-1.0]]))[1] == 0.0  # no item is as good as an unrelated one
