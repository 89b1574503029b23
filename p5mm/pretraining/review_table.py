"""Reviews as a table: what was written, its headline, its stars."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from p5mm.data.columns import (
    number_column,
    require_columns,
    rows,
    text_column,
    with_known_names,
)
from p5mm.data.tables import arrow_table, read_table
from p5mm.data.timestamps import read_times
from p5mm.errors import InputError
from p5mm.model.base import HIGHEST
from p5mm.model.tokenizer import LEVELS

COLUMNS = ("review", "headline", "rating", "timestamp")
PARTS = 10  # in order of time; the last is for tests, the one before it for validation


@dataclass(frozen=True)
class ReviewTable:
    """Reviews in order of time.

    Attributes:
        texts: What was written.
        headlines: None where there is none.
        ratings: ``[n]`` float32, NaN where unknown.
    """

    texts: list[str]
    headlines: list[str | None]
    ratings: NDArray[np.float32]

    @classmethod
    def read(cls, path: str | Path) -> "ReviewTable":
        """The reviews of a Parquet, CSV, TSV or JSONL file; see `from_table`.

        Raises:
            InputError: The file or a value in it cannot be used.
        """
        return cls.from_table(read_table(path), f"reviews {path}")

    @classmethod
    def from_table(cls, table: Any, what: str = "reviews") -> "ReviewTable":
        """The reviews of a table in memory.

        Args:
            table: An Arrow table or a data frame with ``review`` and any of ``headline``,
                ``rating`` and ``timestamp`` (without it the order of the rows is that of time),
                or known other names of them.
            what: Name of the table in messages.

        Raises:
            InputError: There is no review, or a value cannot be used.
        """
        table = with_known_names(arrow_table(table, what), what, COLUMNS)
        require_columns(table, what, ["review"])
        texts = [text or "" for text in text_column(table, what, "review").to_pylist()]
        if not texts:
            raise InputError(f"{what} is empty; give at least one row")
        there = table.column_names
        headlines = [None] * len(texts)
        if "headline" in there:
            given = text_column(table, what, "headline").to_pylist()
            headlines = [text if text and text.strip() else None for text in given]
        ratings = np.full(len(texts), np.nan, np.float32)
        if "rating" in there:
            ratings = number_column(table, what, "rating").to_numpy().astype(np.float32)
            if (high := np.flatnonzero(np.abs(ratings) > HIGHEST)).size:
                raise InputError(
                    f"{what}: the rating in {rows(high)} is beyond {HIGHEST:g}; give a number "
                    "below it, or nothing"
                )
        order = np.arange(len(texts))
        if "timestamp" in there:
            times = read_times(table["timestamp"], what).to_numpy()
            order = np.argsort(times, kind="stable")
        picked = order.tolist()
        return cls([texts[n] for n in picked], [headlines[n] for n in picked], ratings[order])

    def __len__(self) -> int:
        return len(self.texts)

    def part(self, name: str) -> "ReviewTable":
        """``train``, ``valid`` or ``test``: the first eight tenths, the next one, the last one.

        Of fewer than ten reviews all are for training.
        """
        n = len(self) // PARTS
        ends = {"train": (0, len(self) - 2 * n), "valid": (-2 * n, -n), "test": (-n, None)}
        start, stop = ends[name] if n else (0, len(self) if name == "train" else 0)
        chosen = slice(start, stop)
        return ReviewTable(self.texts[chosen], self.headlines[chosen], self.ratings[chosen])

    @property
    def levels(self) -> tuple[float, ...]:
        """Distinct ratings, ascending.

        Raises:
            InputError: There are more than can be named.
        """
        found = np.unique(self.ratings[~np.isnan(self.ratings)])
        if len(found) > len(LEVELS):
            raise InputError(
                f"the reviews have {len(found)} different ratings; the stars of at most "
                f"{len(LEVELS)} levels can be learned: round them"
            )
        return tuple(found.tolist())
