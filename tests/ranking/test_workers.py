"""Batches side by side give what they give one after another."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from p5mm.ranking.workers import one_worker, side_by_side, torch_workers

WORKERS = [one_worker, torch_workers]


@pytest.fixture
def three_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("workers", WORKERS)
@pytest.mark.parametrize("batches", [[], [4], [3, 1, 2, 1]])
def test_every_batch_comes_in_order_with_its_own(workers, batches):
    assert [*side_by_side(lambda x: 2 * x, batches, workers)] == [(x, 2 * x) for x in batches]


def test_each_worker_has_torch_use_one_thread(three_threads):
    met = threading.Barrier(3)

    def threads(batch):
        if batch:
            met.wait(timeout=30)  # passes only where three work at once
        return torch.get_num_threads()

    found = [made for _, made in side_by_side(threads, range(4), torch_workers)]
    assert found == [3, 1, 1, 1]
    assert torch.get_num_threads() == 3


def test_who_recommends_at_once_keeps_torch_its_threads(three_threads):
    """The second begins in a thread of its own while the first is at it."""
    begun, go_on = threading.Event(), threading.Event()

    def first(batch):
        if batch:
            begun.set()
            assert go_on.wait(timeout=30)
        return torch.get_num_threads()

    def second(batch):
        go_on.set()
        return torch.get_num_threads()

    with ThreadPoolExecutor(3) as callers:
        one = callers.submit(lambda: [n for _, n in side_by_side(first, range(2), torch_workers)])
        assert begun.wait(timeout=30)
        two = callers.submit(lambda: [n for _, n in side_by_side(second, range(4), torch_workers)])
        assert two.result() == [3, 1, 1, 1]
        assert one.result() == [3, 1]
    new = ThreadPoolExecutor(1)
    assert new.submit(torch.get_num_threads).result() == 3
    new.shutdown()
    assert torch.get_num_threads() == 3


def test_an_error_ends_it_and_leaves_torch_its_threads(three_threads):
    done = []

    def fails(batch):
        done.append(batch)
        if batch == 1:
            raise ValueError("the second")

    with pytest.raises(ValueError, match="the second"):
        [*side_by_side(fails, range(1000), torch_workers)]
    assert torch.get_num_threads() == 3
    assert len(done) < 1000  # what was waiting is not begun
