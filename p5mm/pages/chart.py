"""A small line chart as numbers that a template can draw."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 520, 240
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 16, 18, 34


@dataclass(frozen=True)
class Chart:
    """A line in a box of ``WIDTH`` x ``HEIGHT``; y grows downwards, as in SVG.

    Attributes:
        points: ``(x, y, label)`` of each value.
        x_ticks: ``(x, label)``.
        y_ticks: ``(y, label)``.
    """

    points: tuple[tuple[float, float, str], ...]
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]

    @property
    def line(self) -> str:
        """The points as an SVG ``points`` attribute."""
        return " ".join(f"{x},{y}" for x, y, _ in self.points)


def line_chart(xs: Sequence[float], ys: Sequence[float]) -> Chart | None:
    """A chart of the finite values; None where there are none.

    Example:
        >>> line_chart([1, 2], [0.0, 0.4]).y_ticks[-1][1]
        '0.4'
    """
    pairs = [(x, y) for x, y in zip(xs, ys, strict=True) if math.isfinite(y)]
    if not pairs:
        return None
    x_marks = _marks(min(x for x, _ in pairs), max(x for x, _ in pairs), whole=True)
    y_marks = _marks(min(y for _, y in pairs), max(y for _, y in pairs))
    x_low, x_high = min(x for x, _ in pairs), max(x for x, _ in pairs)
    y_low, y_high = y_marks[0], y_marks[-1]

    def across(x: float) -> float:
        return round(_LEFT + (x - x_low) / (x_high - x_low or 1) * (WIDTH - _LEFT - _RIGHT), 1)

    def up(y: float) -> float:
        return round(
            HEIGHT - _BOTTOM - (y - y_low) / (y_high - y_low) * (HEIGHT - _TOP - _BOTTOM), 1
        )

    return Chart(
        tuple((across(x), up(y), f"{y:.4g}") for x, y in pairs),
        tuple((across(x), f"{x:g}") for x in x_marks),
        tuple((up(y), f"{y:g}") for y in y_marks),
    )


def log_chart(log: Sequence[Mapping[str, float]], column: str) -> Chart | None:
    """A chart of one column of a training log by epoch; None where no epoch has it."""
    rows = [row for row in log if row.get(column) is not None]
    return line_chart([row["epoch"] for row in rows], [row[column] for row in rows])


def elapsed(log: Sequence[Mapping[str, float]]) -> dict[str, str]:
    """Time from the start of a training to the end of each epoch, by the label of its tick.

    Example:
        >>> elapsed([{"epoch": 1, "seconds": 2.4}, {"epoch": 2, "seconds": 2.4}])
        {'1': '2 s', '2': '5 s'}
    """
    total, times = 0.0, {}
    for epoch in log:
        total += epoch.get("seconds", 0.0)
        times[f"{epoch['epoch']:g}"] = f"{total:,.0f} s"
    return times


def _marks(low: float, high: float, whole: bool = False) -> list[float]:
    """Round numbers: ``whole`` ones inside the range, or others that enclose it."""
    if whole:
        step = max(1.0, _round_step((high - low) / 6))
        first = math.ceil(low / step)
        return [i * step for i in range(first, math.floor(high / step) + 1)] or [low]
    if high - low < 1e-9 * max(abs(high), 1.0):
        high = low + max(abs(low) * 0.1, 1e-3)
    step = _round_step((high - low) / 4)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(i * step, 10) for i in range(first, last + 1)]


def _round_step(step: float) -> float:
    """The next of 1, 2, 5 times a power of ten."""
    if step <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(step))
    return next(n * power for n in (1, 2, 5, 10) if n * power >= step * 0.999)
