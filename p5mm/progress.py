"""Progress of long work: a bar on a terminal, lines in a log elsewhere."""

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tqdm import tqdm

EVERY = 30.0  # seconds between two lines

log = logging.getLogger(__name__)


class Progress:
    """Counts what is done; tells it by a bar, or where there is no terminal by lines of a log.

    Args:
        title: What is being done.
        total: How much there is.
        unit: What is counted.
        every: Seconds between two lines; the last is always told where there was one before.
    """

    def __init__(self, title: str, total: int, unit: str = "item", every: float = EVERY) -> None:
        self.title = title
        self.total = total
        self.unit = unit
        self.every = every
        self.done = 0
        self._bar = tqdm(
            total=total, desc=title, unit=unit, disable=not sys.stderr.isatty(), leave=False
        )
        self._start = self._told = time.monotonic()
        self._first = 0
        self._lines = 0

    def begin_at(self, done: int) -> None:
        """Go on where earlier work stopped: it counts as done, not as speed."""
        self.done = self._first = done
        self._bar.update(done)

    def update(self, count: int = 1, note: str = "") -> None:
        """Count what was done; a note (a loss, a metric) is told beside it at once."""
        self.done += count
        self._bar.update(count)
        ends = self._lines > 0 and self.done >= self.total
        self._tell(note, at_once=bool(note) or ends)

    def tick(self, note: str) -> None:
        """Say that the work goes on; told where nothing was for a while."""
        self._tell(note, at_once=False)

    def _tell(self, note: str, at_once: bool) -> None:
        if not self._bar.disable:
            if note:
                self._bar.set_postfix_str(note)
            return
        now = time.monotonic()
        if at_once or now - self._told >= self.every:
            self._told = now
            self._lines += 1
            log.info("%s", self.line(now - self._start, note))

    def line(self, seconds: float, note: str = "") -> str:
        """One line: done, total, rate, what remains."""
        fresh = self.done - self._first
        rate = fresh / seconds if seconds > 0 else 0.0
        told = f"{self.title}: {self.done:,} of {self.total:,} {self.unit}s"
        if rate:
            speed = f"{rate:,.1f} a second" if rate >= 1 else f"{_span(1 / rate)} each"
            told += f", {speed}, {_span((self.total - self.done) / rate)} left"
        return f"{told}; {note}" if note else told

    def close(self) -> None:
        """End the bar."""
        self._bar.close()


@contextmanager
def progress(
    title: str, total: int, unit: str = "item", every: float = EVERY
) -> Iterator[Progress]:
    """A `Progress` that is closed at the end of the block."""
    shown = Progress(title, total, unit, every)
    try:
        yield shown
    finally:
        shown.close()


def _span(seconds: float) -> str:
    """A span of time in two units at most: "1 h 5 min", "3 min 20 s", "4.2 s"."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"
