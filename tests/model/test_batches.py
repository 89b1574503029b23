from dataclasses import fields

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from p5mm.data.histories import Histories
from p5mm.model.batches import history_batch, scaled, training_batches

LISTS = st.lists(st.lists(st.integers(0, 9), max_size=12), min_size=1, max_size=8).filter(any)
few = settings(max_examples=60)


def rated(lists):
    """Histories in which every event is one of a kind: its rating is its place in the log."""
    plain = Histories.from_lists(lists)
    places = np.arange(len(plain.items), dtype=np.float32)
    return Histories(plain.items, plain.offsets, places)


def batches(log, max_history=4, positions=10, seed=0, epoch=0):
    return list(training_batches(log, max_history, positions, seed, epoch))


@few
@given(LISTS, st.integers(1, 6), st.integers(1, 30), st.integers(0, 5))
def test_every_item_is_a_target_exactly_once(lists, max_history, positions, epoch):
    log = rated(lists)
    found = []
    for batch in batches(log, max_history, positions, epoch=epoch):
        real = batch.targets >= 0
        places = batch.target_ratings[real].long()
        found += places.tolist()
        assert batch.targets[real].tolist() == log.items[places.numpy()].tolist()
    assert sorted(found) == list(range(len(log.items)))


@few
@given(LISTS, st.integers(1, 6), st.integers(1, 30))
def test_a_target_is_read_after_the_events_right_before_it(lists, max_history, positions):
    log = rated(lists)
    starts = np.repeat(log.offsets[:-1], log.lengths)
    for batch in batches(log, max_history, positions):
        assert batch.rows.shape[1] <= max_history
        for b, s in torch.nonzero(batch.targets >= 0).tolist():
            assert s <= batch.lengths[b]
            place = int(batch.target_ratings[b, s])
            read = list(range(place - s, place))
            assert s or place == starts[place]
            assert not read or read[0] >= starts[place]
            assert batch.ratings[b, :s].tolist() == read
            assert batch.rows[b, :s].tolist() == log.items[read].tolist()


@few
@given(LISTS, st.integers(1, 30))
def test_batches_are_about_as_large_as_asked(lists, positions):
    log = rated(lists)
    for batch in batches(log, 4, positions):
        assert int((batch.targets >= 0).sum()) <= positions + 5


def test_the_same_seed_and_epoch_give_the_same_batches():
    log = rated([list(range(i % 10)) for i in range(40)])

    def flat(seed, epoch):
        found = batches(log, seed=seed, epoch=epoch)
        return [getattr(b, f.name).nan_to_num(-9).tolist() for b in found for f in fields(b)]

    assert flat(1, 2) == flat(1, 2)
    assert flat(1, 2) != flat(1, 3)
    assert flat(1, 2) != flat(2, 2)


def test_padding_is_small():
    rng = np.random.default_rng(0)
    log = rated([[0] * n for n in rng.integers(1, 50, 300)])
    found = batches(log, max_history=50, positions=256)
    places = sum(b.targets.numel() for b in found)
    assert len(log.items) / places > 0.9


def test_history_batch_takes_the_last_items():
    batch = history_batch(rated([[1, 2, 3, 4], [], [5]]), 3)
    assert batch.rows.tolist() == [[2, 3, 4], [0, 0, 0], [5, 0, 0]]
    assert batch.lengths.tolist() == [3, 0, 1]
    assert batch.ratings[0].tolist() == [1, 2, 3]
    assert batch.ratings[1:].isnan().tolist() == [[True] * 3, [False, True, True]]
    assert batch.targets.shape == batch.target_ratings.shape == (3, 4)


def test_history_batch_of_empty_histories():
    for lists in ([[], []], [[]]):
        batch = history_batch(Histories.from_lists(lists), 5)
        assert batch.rows.tolist() == [[0]] * len(lists)
        assert batch.lengths.tolist() == [0] * len(lists)
    assert history_batch(Histories.from_lists([]), 5).rows.shape == (0, 1)


def test_ratings_are_scaled_and_unknown_ones_stay_unknown():
    batch = scaled(history_batch(rated([[1, 2, 3]]), 5), (1.0, 2.0))
    assert batch.ratings.tolist() == [[-0.5, 0.0, 0.5]]
    plain = scaled(history_batch(Histories.from_lists([[1]]), 5), (1.0, 2.0))
    assert plain.ratings.isnan().all()
