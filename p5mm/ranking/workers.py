"""Batches side by side, each on one core."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from threading import Lock, Thread
from typing import TypeVar

Workers = Callable[[], AbstractContextManager[Executor]]
Batch = TypeVar("Batch")
Done = TypeVar("Done")
TURN = Lock()  # torch has one number of threads for all threads to come


def side_by_side(
    work: Callable[[Batch], Done], batches: Iterable[Batch], workers: Workers
) -> Iterator[tuple[Batch, Done]]:
    """Each batch and what is made of it, in order; the first alone, as it makes what all need.

    Args:
        work: Done to each batch.
        batches: All of them are taken before the second is done.
        workers: Gives those that do it.
    """
    waiting = list(batches)
    for first in waiting[:1]:
        yield first, work(first)
    if others := waiting[1:]:
        with workers() as pool:
            yield from zip(others, pool.map(work, others), strict=True)


@contextmanager
def one_worker() -> Iterator[Executor]:
    """One batch after another, for whatever spreads a batch over the cores by itself."""
    with ThreadPoolExecutor(1) as pool:
        yield pool


@contextmanager
def torch_workers() -> Iterator[Executor]:
    """As many workers as torch may use threads; each of them has it use one.

    A batch of a small model spread over the cores has them wait for each other many times a layer,
    and searches and lookups between the layers use one core anyway. All other threads keep theirs,
    whoever recommends at the same time.
    """
    import torch

    with TURN:
        threads = torch.get_num_threads()
    with ThreadPoolExecutor(threads, initializer=_use_one, initargs=(threads,)) as pool:
        yield pool


def _use_one(threads: int) -> None:
    """Has torch use one thread here, and so many wherever it is asked for the first time."""
    import torch

    torch.get_num_threads()  # a thread takes torch's number once, when it is first asked
    with TURN:
        torch.set_num_threads(1)  # that number is now 1, too, until another thread sets it
        other = Thread(target=torch.set_num_threads, args=(threads,))
        other.start()
        other.join()
