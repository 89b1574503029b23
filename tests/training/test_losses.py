import math

import pytest
import torch

from p5mm.training.retrieval_objective import full_softmax, sampled_softmax


@pytest.fixture
def problem():
    torch.manual_seed(0)
    return torch.randn(6, 4), torch.randn(50, 4), torch.randint(50, (6,))


def test_full_softmax_by_hand(problem):
    queries, items, targets = problem
    by_hand = [
        math.log(sum(math.exp(float(q @ i)) for i in items)) - float(q @ items[t])
        for q, t in zip(queries, targets, strict=True)
    ]
    assert float(full_softmax(queries, items, targets)) == pytest.approx(sum(by_hand) / 6, rel=1e-5)


def test_all_other_items_as_negatives_is_the_full_softmax(problem):
    queries, items, targets = problem
    hits = targets[:, None] == torch.arange(50)
    found = sampled_softmax(queries, items[targets], items, hits, log_q=0.0)
    torch.testing.assert_close(found, full_softmax(queries, items, targets))


def test_log_q_makes_samples_stand_for_all(problem):
    queries, items, targets = problem
    full = full_softmax(queries, items, targets)
    found = []
    for _ in range(400):
        drawn = torch.randint(50, (20,))
        hits = targets[:, None] == drawn
        found.append(
            sampled_softmax(queries, items[targets], items[drawn], hits, math.log(20 / 50))
        )
    assert float(torch.stack(found).mean()) == pytest.approx(float(full), rel=0.05)
    uncorrected = sampled_softmax(queries, items[targets], items[:20], hits, 0.0)
    assert float(uncorrected) < 0.9 * float(full)


def test_a_negative_that_is_the_target_does_not_count(problem):
    queries, items, targets = problem
    others = torch.cat([items[:5], items[targets[:1]]])
    hits = torch.zeros(6, 6, dtype=torch.bool)
    hits[0, 5] = True
    one, none = queries[:1], items[targets[:1]]
    with_hit = sampled_softmax(one, none, others, hits[:1], 0.0)
    without = sampled_softmax(one, none, others[:5], hits[:1, :5], 0.0)
    torch.testing.assert_close(with_hit, without)
