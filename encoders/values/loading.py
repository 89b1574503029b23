"""Raw values loaded ahead of the model by threads; what takes too long is given up.

Threads, and not processes: decoding and scaling a picture leave Python's lock, so they are as fast,
and they need no shared memory, no temporary files and no fork that a system can refuse. No thread
can be killed: that of a value which takes too long is left to itself, another takes its place, and
none keeps the process from ending.
"""

import os
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from p5mm.encoders.base import Encoder
from p5mm.encoders.values.part import FilePart
from p5mm.errors import InputError

WORTH_WORKERS = 128  # fewer values are loaded sooner than several threads help
MOST_WORKERS = 8  # beyond these, threads wait for Python's lock
SECONDS = 60.0  # that one value may take
LOOKS = 10  # at a value, within these seconds
MOST_GIVEN_UP = 64  # values, each with the thread and the memory that it holds for good
PATIENCE = 1.0  # seconds that threads have to end in after the last value


@dataclass
class Batch:
    """Some loaded values.

    Attributes:
        rows: The row of each value.
        values: What ``encoder.load`` made of it.
        reasons: Row to reason, for what could not be loaded.
    """

    rows: list[int] = field(default_factory=list)
    values: list[Any] = field(default_factory=list)
    reasons: dict[int, str] = field(default_factory=dict)

    def add(self, row: int, value: Any, reason: str | None) -> None:
        """One value more, or the reason why there is none."""
        if reason is None:
            self.rows.append(row)
            self.values.append(value)
        else:
            self.reasons[row] = reason


def load_ahead(
    encoder: Encoder,
    raws: Sequence[Any],
    rows: list[int],
    batch_size: int,
    workers: int | None,
    seconds: float = SECONDS,
) -> Iterator[Batch]:
    """Batches of loaded values, in the order of ``rows``; texts by falling length.

    Args:
        encoder: Its ``load`` is called, in threads unless it says ``one_thread``.
        raws: All raw values.
        rows: Which of them.
        batch_size: Values a batch.
        workers: Number of threads; None decides by ``default_workers``. With 0 nothing is loaded
            while the model works.
        seconds: That one value may take in a thread.

    Raises:
        InputError: Too many values take longer.
    """
    rows = longest_first(raws, rows)
    chunks = [rows[start : start + batch_size] for start in range(0, len(rows), batch_size)]
    if getattr(encoder, "one_thread", False):
        for chunk in chunks:
            batch = Batch()
            for row in chunk:
                batch.add(row, *_loaded(encoder, raws[row]))
            yield batch
    elif chunks:
        count = default_workers(encoder, len(rows)) if workers is None else workers
        yield from _Threads(encoder, raws, seconds).batches(chunks, min(count, len(chunks)))


def longest_first(raws: Sequence[Any], rows: list[int]) -> list[int]:
    """Rows by falling length of their texts, so that little is padded; others stay in order."""
    return sorted(rows, key=lambda row: -_text_length(raws[row]))


def default_workers(encoder: Encoder, values: int) -> int:
    """One thread a core, at most eight; none for few values or where ``load`` wants none."""
    if values < WORTH_WORKERS or getattr(encoder, "one_thread", False):
        return 0
    cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(MOST_WORKERS, cores if isinstance(cores, int) else len(cores))


class _Chunk:
    """The values of a batch, which one thread loads one by one."""

    def __init__(self, rows: list[int], batch: Batch | None = None) -> None:
        self.batch = batch or Batch()
        self.done = threading.Event()
        self.thread: threading.Thread | None = None  # that is at it
        self.error: BaseException | None = None
        self._rows = rows
        self._at = 0
        self._given_up = False
        self._lock = threading.Lock()
        self._seen = (0, 0)  # where it was when it was looked at, and how often it was there

    def load(self, encoder: Encoder, raws: Sequence[Any]) -> bool:
        """Load all; False where this was given up meanwhile."""
        self.thread = threading.current_thread()
        try:
            for row in self._rows:
                loaded = _loaded(encoder, raws[row])
                with self._lock:
                    if self._given_up:
                        return False
                    self.batch.add(row, *loaded)
                    self._at += 1
        except BaseException as error:  # an encoder that ends the process: it is told where it can
            self.error = error
        self.done.set()
        return True

    def is_stuck(self) -> bool:
        """Whether it has been at one value at all looks so far, as many as are allowed.

        Looks are counted, not seconds, so that a process which was stopped gives nothing up.
        """
        at, looks = self._seen
        self._seen = (self._at, looks + 1 if self.thread and at == self._at else 0)
        return self._seen[1] >= LOOKS and not self.done.is_set()

    def rest(self, reason: str) -> "_Chunk | None":
        """What comes after the value that it is at; None where it has got on in the meantime."""
        with self._lock:
            if self._at != self._seen[0] or self._at == len(self._rows):
                return None
            self._given_up = True
        self.batch.add(self._rows[self._at], None, reason)
        return _Chunk(self._rows[self._at + 1 :], self.batch)

    def stop(self) -> None:
        """Load no further."""
        with self._lock:
            self._given_up = True


class _Threads:
    """Threads that load chunks in turn.

    Args:
        encoder: Its ``load`` is called.
        raws: All raw values.
        seconds: That one value may take.
    """

    def __init__(self, encoder: Encoder, raws: Sequence[Any], seconds: float) -> None:
        self._encoder = encoder
        self._raws = raws
        self._seconds = seconds
        self._todo: SimpleQueue[_Chunk | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._given_up = 0
        self._ahead: deque[_Chunk] = deque()

    def batches(self, chunks: list[list[int]], count: int) -> Iterator[Batch]:
        """The loaded chunks in their order; with a count of 0 none is loaded ahead."""
        left = iter(chunks)
        try:
            for _ in range(max(1, count)):
                self._start()
            self._submit(islice(left, 2 * count or 1))
            while self._ahead:
                batch = self._first()
                if count:
                    self._submit(islice(left, 1))
                yield batch
                if not count:
                    self._submit(islice(left, 1))
        finally:
            self._end()

    def _submit(self, chunks: Iterator[list[int]]) -> None:
        for rows in chunks:
            self._ahead.append(_Chunk(rows))
            self._todo.put(self._ahead[-1])

    def _first(self) -> Batch:
        while not self._ahead[0].done.wait(self._seconds / LOOKS):
            for place, chunk in enumerate(self._ahead):
                if chunk.is_stuck():
                    self._ahead[place] = self._given_up_at(chunk)
        chunk = self._ahead.popleft()
        if chunk.error is not None:
            raise chunk.error
        return chunk.batch

    def _given_up_at(self, chunk: _Chunk) -> _Chunk:
        """The chunk without the value that it is stuck at, for another thread to go on with."""
        rest = chunk.rest(f"loading it took longer than {self._seconds:g} s; it was given up")
        if rest is None:
            return chunk
        self._threads = [thread for thread in self._threads if thread is not chunk.thread]
        self._given_up += 1
        if self._given_up > MOST_GIVEN_UP:
            raise InputError(
                f"{self._given_up} values took longer than {self._seconds:g} s each to load: the "
                "disk or the decoder hangs. Mend that, or give more time with --load-seconds"
            )
        self._start()
        self._todo.put(rest)
        return rest

    def _start(self) -> None:
        thread = threading.Thread(target=self._work, name="p5mm-load", daemon=True)
        thread.start()
        self._threads.append(thread)

    def _work(self) -> None:
        while (chunk := self._todo.get()) is not None:
            if not chunk.load(self._encoder, self._raws):
                return

    def _end(self) -> None:
        for chunk in self._ahead:
            chunk.stop()
        try:
            while True:
                self._todo.get_nowait()
        except Empty:
            pass
        for _ in self._threads:
            self._todo.put(None)
        ends = time.monotonic() + PATIENCE
        for thread in self._threads:
            thread.join(max(0.0, ends - time.monotonic()))


def _loaded(encoder: Encoder, raw: Any) -> tuple[Any, str | None]:
    """What the encoder makes of a raw value, or the reason why nothing."""
    try:
        return encoder.load(raw.read() if isinstance(raw, FilePart) else raw), None
    except Exception as error:  # whatever a stranger's bytes or encoder raise
        return None, _reason(error, raw)


def _reason(error: Exception, raw: Any) -> str:
    if isinstance(error, MemoryError):
        return "there is no memory to load it"
    if isinstance(error, OSError) and isinstance(raw, Path) and str(raw) not in str(error):
        return f"{type(error).__name__}: {error} ({raw})"
    return str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"


def _text_length(raw: Any) -> int:
    return len(raw) if isinstance(raw, str) else 0
