"""Works timed in turn, and vectors for them."""

import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray


def seconds(work: Callable[[], object], repeats: int) -> float:
    start = time.perf_counter()
    for _ in range(repeats):
        work()
    return (time.perf_counter() - start) / repeats


def interleaved(
    works: list[Callable[[], object]], rounds: int = 5, least: float = 0.05
) -> list[float]:
    """The best time of each, rounds taken in turn so that a busy machine hits all alike."""
    repeats = [max(1, int(least / seconds(work, 2))) for work in works]
    times = [
        [seconds(work, n) for work, n in zip(works, repeats, strict=True)] for _ in range(rounds)
    ]
    return [min(of) for of in zip(*times, strict=True)]


def clustered(n: int, dim: int) -> NDArray[np.float32]:
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(1000, dim)).astype(np.float32)
    noise = rng.normal(size=(n, dim)).astype(np.float32)
    vectors: NDArray[np.float32] = noise * np.float32(0.5) + centres[rng.integers(1000, size=n)]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors
