"""What the commands say on a terminal."""

import logging
import sys
from collections.abc import Sequence

from p5mm.errors import shown


class _Lines(logging.Handler):
    """Log lines on standard error, above a progress bar if there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        from tqdm import tqdm

        text = record.getMessage()
        if record.levelno >= logging.WARNING and not text.startswith("warning"):
            text = f"{record.levelname.lower()}: {text}"
        tqdm.write(safe(text), file=sys.stderr)


def show_log() -> None:
    """Show what p5mm logs; of other libraries, warnings only."""
    logging.getLogger("p5mm").setLevel(logging.INFO)
    root = logging.getLogger()
    if not any(isinstance(handler, _Lines) for handler in root.handlers):
        root.addHandler(_Lines())


def say(*lines: str) -> None:
    """Print lines to standard error."""
    print(*map(safe, lines), sep="\n", file=sys.stderr)


def safe(text: str) -> str:
    """A text without anything that a terminal would obey; its own line ends stay."""
    return "\n".join(map(shown, text.split("\n")))


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
