"""How much memory there is to work in."""

import os
from pathlib import Path

LIMIT = Path("/sys/fs/cgroup/memory.max")  # of the container that runs this, if any


def memory() -> int:
    """Bytes of this machine, or of the container where that has fewer."""
    whole = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    try:
        return min(whole, int(LIMIT.read_text()))
    except (OSError, ValueError):  # there is none, or it says "max"
        return whole
