"""What the commands say, and where they may write."""

import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from p5mm.errors import InputError

STDOUT = "-"


class _Lines(logging.Handler):
    """Log lines on standard error, above a progress bar if there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        from tqdm import tqdm

        text = record.getMessage()
        if record.levelno >= logging.WARNING and not text.startswith("warning"):
            text = f"{record.levelname.lower()}: {text}"
        tqdm.write(text, file=sys.stderr)


def show_log() -> None:
    """Show what p5mm logs; of other libraries, warnings only."""
    logging.getLogger("p5mm").setLevel(logging.INFO)
    root = logging.getLogger()
    if not any(isinstance(handler, _Lines) for handler in root.handlers):
        root.addHandler(_Lines())


def say(*lines: str) -> None:
    """Print lines to standard error."""
    print(*lines, sep="\n", file=sys.stderr)


def writable(path: str | Path) -> Path:
    """A file that can be written.

    Raises:
        InputError: It is a folder, or its folder does not exist or may only be read.
    """
    path = Path(path)
    parent = path.absolute().parent
    if path.is_dir() or not parent.is_dir():
        raise InputError(f"{path} cannot be written: give a file in a folder that exists")
    if not os.access(parent, os.W_OK):
        raise InputError(f"{path} cannot be written: its folder may only be read; give another")
    return path


def put(text: str, path: str | Path) -> None:
    """Write a whole file or nothing, or print to standard output."""
    from p5mm.files import whole_file

    if str(path) == STDOUT:
        print(text, end="")
        return
    with whole_file(path) as draft:
        draft.write_text(text, encoding="utf-8")


def columns(rows: Sequence[Sequence[str]]) -> str:
    """Rows as a text table; the first row is the head.

    Example:
        >>> print(columns([["model", "ndcg@10"], ["p5mm", "0.1"]]))
        model  ndcg@10
        -----  -------
        p5mm   0.1
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(v.ljust(w) for v, w in zip(row, widths, strict=True)) for row in rows]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(line.rstrip() for line in lines)
