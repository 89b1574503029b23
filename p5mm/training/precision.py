"""Which number format trains faster on this machine, found by trying."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import cache

import torch

WORTH = 0.4  # share of the time of fp32 below which bf16 is taken


def chosen(precision: str) -> str:
    """``fp32`` or ``bf16``; ``auto`` is what is faster on this machine."""
    if precision == "auto":
        return "bf16" if bf16_is_faster() else "fp32"
    return precision


def autocast(precision: str) -> AbstractContextManager[object]:
    """The context in which the network runs: bf16 autocast, or nothing for fp32."""
    if precision == "bf16":
        return torch.autocast("cpu", dtype=torch.bfloat16)
    return nullcontext()


@cache
def bf16_is_faster() -> bool:
    """Whether a bf16 matrix product of a training step's size beats fp32 by far.

    Half of a small network's step is no matrix product: where bf16 multiplied twice as fast, a
    whole step took as long as in fp32 (benchmarks/RESULTS.md), and fp32 is the more exact.

    Some processors multiply bf16 several times faster than fp32, others emulate it several hundred
    times slower; a millisecond of trying beats a table of processor names.
    """
    a, b = torch.ones(512, 64), torch.ones(64, 1024)  # of no generator: trainings repeat themselves
    slow = _seconds(lambda: a @ b)
    a16, b16 = a.bfloat16(), b.bfloat16()
    return _seconds(lambda: a16 @ b16) < WORTH * slow


def _seconds(work: Callable[[], object]) -> float:
    times = []
    for _ in range(4):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)
