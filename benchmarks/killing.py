"""What is written again and again by processes that are killed at random moments."""

import os
import random
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from tqdm import tqdm

HEAD = [
    "| killed during | kills | ended before | old state | new state | lost, left behind |",
    "|---|---|---|---|---|---|",
]


@dataclass(frozen=True)
class Operation:
    """Something that is done to a folder.

    Attributes:
        before: The state of the folder.
        after: The state that it comes to.
        work: Does it; may be called again where it was killed, or is done already.
    """

    before: Any
    after: Any
    work: Callable[[], object]


class Living(Protocol):
    """A folder that is written."""

    operations: tuple[str, ...]

    def operation(self, name: str, luck: random.Random) -> Operation:
        """The next of a name."""

    def there(self) -> Any:
        """The state of the folder now; ends the benchmark where it is no whole one."""

    def is_done(self, name: str, asked: Operation) -> bool:
        """Whether an operation that was killed had come to its end."""

    def check_nothing_left(self) -> None:
        """End the benchmark where there is more on the disk than the state needs."""


def rows_of_kills(living: Living, kills: int, luck: random.Random) -> list[str]:
    """Kill each operation in turn, so many times in all, and finish it each time; a table's rows.

    Raises:
        SystemExit: Something was lost, or left behind.
    """
    seconds = dict.fromkeys(living.operations, 0.5)
    counts = {name: dict.fromkeys(("killed", "ended", "old", "new"), 0) for name in seconds}
    for number in range(10 * kills):
        if sum(of["killed"] for of in counts.values()) == kills:
            break
        name = living.operations[number % len(living.operations)]
        asked = living.operation(name, luck)
        was_killed = killed(asked.work, luck.random() * 1.1 * seconds[name])
        counts[name]["killed" if was_killed else "ended"] += 1
        if living.there() not in (asked.before, asked.after):
            raise SystemExit(f"{name} {number}: neither the state of before nor that of after")
        if was_killed:
            counts[name]["new" if living.is_done(name, asked) else "old"] += 1
        start = time.perf_counter()
        if status(asked.work):
            raise SystemExit(f"{name} {number}: it cannot be finished")
        took = time.perf_counter() - start
        seconds[name] = took if was_killed else 0.8 * seconds[name]  # it ends sooner than thought
        if living.there() != asked.after:
            raise SystemExit(f"{name} {number}: finished, and not the state of after")
        living.check_nothing_left()
    return [f"| {name} | {' | '.join(map(str, of.values()))} | 0 |" for name, of in counts.items()]


def killed(work: Callable[[], object], seconds: float) -> bool:
    """Do some work in a process of its own and kill it after a while; False where it had ended."""
    child = _begun(work)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def status(work: Callable[[], object]) -> int:
    """Do some work in a process of its own; 0 where it ended well."""
    return os.waitpid(_begun(work), 0)[1]


def _begun(work: Callable[[], object]) -> int:
    child = os.fork()
    if child:
        return child
    try:
        tqdm.set_lock(threading.RLock())  # that of tqdm is shared: who is killed with it keeps it
        work()
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)
