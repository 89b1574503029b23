"""Means with their intervals as a text table that is no wider than it may be."""

import shutil
from collections.abc import Mapping, Sequence

from p5mm.errors import shown
from p5mm.metrics.intervals import Interval
from p5mm.pages.text import clipped

GAP = "  "
NAME = 16
"""Letters of a name that are kept at least, unless less than that is wide."""
Rows = Mapping[str, Mapping[str, Interval]]


def terminal_width() -> int:
    """Columns of the terminal, 80 where that is unknown."""
    return shutil.get_terminal_size((80, 24)).columns


def interval_table(rows: Rows, metrics: Sequence[str], width: int) -> str:
    """A line a row; as many metrics as fit, the first ones first, and a line that names the others.

    Where not even one interval fits, the means stand alone; names are cut before metrics are.

    Args:
        rows: Row name to metric to mean with interval.
        metrics: In the order of their importance.
        width: No line is wider.
    """
    names = [shown(name) for name in rows]
    metrics = [metric for metric in metrics if all(metric in of for of in rows.values())]
    longest = max(map(len, ["model", *names]), default=0)
    cells = {m: [m, *(_with_bounds(of[m]) for of in rows.values())] for m in metrics}
    if _fitting(cells, width - min(longest, NAME)) == 0:
        cells = {m: [m, *(f"{of[m].value:.4f}" for of in rows.values())] for m in metrics}
    # A metric is worth more than the end of the longest name.
    count = max(_fitting(cells, width - longest), min(1, len(metrics)))
    columns = [cells[metric] for metric in metrics[:count]]
    used = sum(len(GAP) + max(map(len, column)) for column in columns)
    room = max(min(longest, width - used), 1)
    lines = _lines([[clipped(name, room) for name in ("model", *names)], *columns], width)
    rest = [*map(shown, metrics[count:])]
    return "\n".join([*lines, *(_wrapped("not shown:", rest, width) if rest else [])])


def _fitting(cells: Mapping[str, Sequence[str]], room: int) -> int:
    """How many of the columns fit, from the first on."""
    count = 0
    for column in cells.values():
        room -= len(GAP) + max(map(len, column))
        if room < 0:
            break
        count += 1
    return count


def _lines(columns: Sequence[Sequence[str]], width: int) -> list[str]:
    widths = [max(map(len, column)) for column in columns]
    lines = [
        GAP.join(cell.ljust(size) for cell, size in zip(row, widths, strict=True)).rstrip()
        for row in zip(*columns, strict=True)
    ]
    lines.insert(1, GAP.join("-" * size for size in widths))
    return [clipped(line, width) for line in lines]


def _wrapped(label: str, words: Sequence[str], width: int) -> list[str]:
    """Words after a label, on as many lines as they need."""
    lines = [label]
    for place, word in enumerate(words):
        text = word + ("," if place + 1 < len(words) else "")
        if len(lines[-1]) + 1 + len(text) > width:
            lines.append(text)
        else:
            lines[-1] += f" {text}"
    return [clipped(line, width) for line in lines]


def _with_bounds(mean: Interval) -> str:
    return f"{mean.value:.4f} [{mean.low:.4f}, {mean.high:.4f}]"
