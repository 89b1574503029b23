"""Says what comes and what it will cost, and remembers where the time went."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager


class Clock:
    """Steps and their seconds, in order.

    Example:
        >>> clock = Clock()
        >>> with clock.step("add", "no time"):
        ...     _ = 1 + 1
        >>> [step for step, _ in clock.timings]
        ['add']
    """

    def __init__(self) -> None:
        self.timings: list[tuple[str, float]] = []

    @contextmanager
    def step(self, what: str, cost: str) -> Iterator[None]:
        """Announce a step, time it."""
        print(f"[{len(self.timings) + 1}] {what} ({cost})", file=sys.stderr, flush=True)
        start = time.perf_counter()
        yield
        self.timings.append((what, time.perf_counter() - start))

    def __str__(self) -> str:
        total = sum(seconds for _, seconds in self.timings) or 1.0
        width = max((len(what) for what, _ in self.timings), default=0)
        lines = [
            f"{what:<{width}}  {seconds:6.1f} s  {'#' * round(30 * seconds / total)}"
            for what, seconds in self.timings
        ]
        return "\n".join(["where the time went:", *lines, f"{'all':<{width}}  {total:6.1f} s"])
