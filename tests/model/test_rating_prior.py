"""The prior of ratings, against sums written out by hand."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from p5mm.config import RatingConfig
from p5mm.data.histories import Histories
from p5mm.model.batches import history_batch, scaled
from p5mm.model.rating_prior import RatingPrior

SETTINGS = RatingConfig()

N, LEVELS, SCALE = 6, (1.0, 2.0, 3.0, 4.0, 5.0), (3.0, 2.0)
RATINGS = [5.0, 1.0, np.nan, 4.0, 2.0, 3.0, 5.0, np.nan]
LOG = replace(
    Histories.from_lists([[0, 1, 2, 3], [1, 0, 4], [5]]),
    ratings=np.array(RATINGS, dtype=np.float32),
)


def prior_of(log):
    return RatingPrior.of(log, N, SCALE, LEVELS, SETTINGS)


def units(rating):
    return (rating - SCALE[0]) / SCALE[1]


def item_mean(log, item):
    own = [units(r) for i, r in zip(log.items, log.ratings, strict=True) if i == item]
    own = [one for one in own if not np.isnan(one)]
    return sum(own) / (len(own) + SETTINGS.item_shrink)


def leaning(log, user, place):
    """After ``place`` items: the decayed mean distance from the items' means, shrunk."""
    start = log.offsets[user]
    total, weight = 0.0, SETTINGS.user_shrink
    for j in range(place):
        rating = log.ratings[start + j]
        if not np.isnan(rating):
            share = SETTINGS.decay ** (place - 1 - j)
            total += share * (units(rating) - item_mean(log, log.items[start + j]))
            weight += share
    return total / weight


def test_items_and_leanings_are_shrunk_means():
    prior, batch = prior_of(LOG), scaled(history_batch(LOG, 10), SCALE)
    expected = [item_mean(LOG, item) for item in range(N)]
    np.testing.assert_allclose(prior.item(torch.arange(N)), expected, atol=1e-6)
    found = prior.leaning(batch)
    for user in range(len(LOG)):
        for place in range(int(LOG.lengths[user]) + 1):
            assert float(found[user, place]) == pytest.approx(leaning(LOG, user, place), abs=1e-6)


@settings(max_examples=30)
@given(st.integers(0, len(RATINGS) - 1))
def test_leaving_out_its_own_rating_is_a_prior_that_never_saw_it(event):
    hidden = LOG.ratings.copy()
    hidden[event] = np.nan
    item, own = LOG.items[event], units(LOG.ratings[event])
    without = prior_of(replace(LOG, ratings=hidden)).item(torch.tensor([item]))
    found = prior_of(LOG).item(torch.tensor([item]), torch.tensor([own]))
    torch.testing.assert_close(found, without)


def test_the_logits_start_as_those_of_a_normal_distribution():
    prior, batch = prior_of(LOG), scaled(history_batch(LOG, 10), SCALE)
    positions, targets = torch.tensor([[2], [3], [0]]), torch.tensor([[4], [2], [1]])
    with torch.no_grad():
        logits = prior(batch, positions, targets)
    where = [
        item_mean(LOG, t) + leaning(LOG, u, p) for u, p, t in [(0, 2, 4), (1, 3, 2), (2, 0, 1)]
    ]
    levels = np.array([units(level) for level in LEVELS])
    for row, mean in enumerate(where):
        normal = -((levels - mean) ** 2) / (2 * 0.85**2)
        difference = logits[row, 0].numpy() - normal
        np.testing.assert_allclose(difference, difference[0], atol=1e-5)


def test_nothing_known_is_the_mean_of_all():
    prior = prior_of(LOG)
    empty = scaled(history_batch(Histories.from_lists([[]]), 10), SCALE)
    assert not prior.leaning(empty).any()
    unrated = torch.tensor([2])
    assert not prior.item(unrated).any()
