"""Columns as a modality: categories and numbers of a catalog in one vector.

What is known of the columns (the categories, the mean and deviation of each number) is learned once
and kept in a file, which is to this encoder what weights are to others: an item that comes later is
measured by the same rule. From this folder:
``python tabular.py ../shop/catalog.csv --categories brand --numbers price --out columns.json``,
then
``p5mm index ../shop/catalog.csv --encoder tabular:TabularEncoder:columns.json --out ../columns``.
"""

import argparse
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from p5mm.data.catalog import Catalog
from p5mm.errors import InputError
from p5mm.files import whole_file

MOST = 256  # categories of a column that are known: the most frequent
FORM = '{"categories": {COLUMN: [NAME, ...]}, "numbers": {COLUMN: [MEAN, DEVIATION]}}'


class TabularEncoder:
    """Each column that an item has is an equal part: a cosine is the mean likeness of the columns.

    A category is a one among zeros. A number is a point on a half circle, from far below the mean
    to far above it: two of one size agree, whatever it is. What is missing, and a category that
    the file does not know, is all zeros and agrees with nothing.

    Args:
        file: What `learn` has learned, as JSON.
    """

    modality = "tabular"
    one_thread = True

    def __init__(self, file: str) -> None:
        known = _checked(file)
        self._numbers: dict[str, list[float]] = known["numbers"]
        names: dict[str, list[str]] = known["categories"]
        self._places = {
            column: {name: place for place, name in enumerate(names[column])} for column in names
        }
        self.source = (*names, *self._numbers)
        self.dim = sum(map(len, names.values())) + 2 * len(self._numbers)
        text = json.dumps([known["categories"], known["numbers"]])
        self.fingerprint = (
            f"columns, version 1, {blake2b(text.encode(), digest_size=16).hexdigest()}"
        )

    def load(self, raw: Mapping[str, Any]) -> NDArray[np.float32]:
        """The cells of an item to ``[dim]``, at unit length.

        Raises:
            ValueError: A number is none, or nothing is given that is known.
        """
        if not isinstance(raw, Mapping):
            raise ValueError(f"a row is cells by column, not {type(raw).__name__}")
        parts = [_category(raw.get(name), places) for name, places in self._places.items()]
        parts += [_number(name, raw.get(name), *scale) for name, scale in self._numbers.items()]
        vector = np.concatenate(parts)
        length = float(np.linalg.norm(vector))
        if not length:
            raise ValueError("no cell of it says anything: all are missing or unknown categories")
        return np.asarray(vector / length, np.float32)

    def encode(self, batch: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        """The vectors, stacked: ``[n, dim]``."""
        return np.array(batch, np.float32).reshape(-1, self.dim)


def learn(catalog: Catalog, categories: Sequence[str], numbers: Sequence[str]) -> dict[str, Any]:
    """What is known of columns: the categories, and the mean and deviation of the numbers.

    Raises:
        InputError: The catalog has no such column, or a column of numbers has no number.
    """
    rows = [row for row in catalog.raw([*categories, *numbers]) if row is not None]
    names = {
        column: [name for name, _ in Counter(_names(rows, column)).most_common(MOST)]
        for column in categories
    }
    return {"categories": names, "numbers": {column: _scale(rows, column) for column in numbers}}


def _names(rows: Sequence[Mapping[str, Any]], column: str) -> list[str]:
    return [name for row in rows if (name := _name(row[column])) is not None]


def _name(cell: Any) -> str | None:
    return None if cell is None or cell == "" else str(cell)


def _scale(rows: Sequence[Mapping[str, Any]], column: str) -> list[float]:
    values = []
    for row in rows:
        with suppress(ValueError):  # quarantined when it is encoded
            values.append(_parsed(column, row[column]))
    given = np.array([value for value in values if value is not None])
    if not given.size:
        raise InputError(f"no cell of '{column}' is a number; give it as one of --categories")
    return [float(given.mean()), float(given.std()) or 1.0]


def _parsed(column: str, cell: Any) -> float | None:
    if cell is None or cell == "":
        return None
    try:
        value = float(cell)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"the {column} {str(cell)[:80]!r} is no number") from None
    if not abs(value) < 1e30:
        raise ValueError(f"the {column} {value} is no finite number below 1e30")
    return value


def _category(cell: Any, places: Mapping[str, int]) -> NDArray[np.float64]:
    part, place = np.zeros(len(places)), places.get(_name(cell) or "")
    if place is not None:
        part[place] = 1.0
    return part


def _number(column: str, cell: Any, mean: float, deviation: float) -> NDArray[np.float64]:
    value = _parsed(column, cell)
    if value is None:
        return np.zeros(2)
    share = (1 + math.erf((value - mean) / deviation / math.sqrt(2))) / 2  # of a normal law, below
    return np.array([math.cos(math.pi * share), math.sin(math.pi * share)])


def _checked(file: str) -> dict[str, Any]:
    """The columns of a file, after a look at all of it.

    Raises:
        InputError: It is not what `learn` makes.
    """
    try:
        known = json.loads(Path(file).read_text(encoding="utf-8"))
        names, scales = known["categories"], known["numbers"]
        words = all(isinstance(name, str) for of in names.values() for name in of)
        distinct = all(len(set(of)) == len(of) for of in names.values())
        finite = all(math.isfinite(m) and math.isfinite(d) and d > 0 for m, d in scales.values())
        whole = words and distinct and finite and bool(names or scales)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"{file} is no file of columns ({error}); it must be {FORM}") from error
    if not whole:
        raise InputError(f"{file} is no file of columns; it must be {FORM}")
    return {"categories": names, "numbers": scales}


def main() -> None:
    """Learn columns of a catalog."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("catalog", help="Parquet, CSV, TSV or JSONL")
    parser.add_argument("--categories", nargs="+", default=[], metavar="COLUMN")
    parser.add_argument("--numbers", nargs="+", default=[], metavar="COLUMN")
    parser.add_argument("--out", required=True, metavar="FILE.json")
    options = parser.parse_args()
    if not options.categories and not options.numbers:
        parser.error("name a column: --categories COLUMN, --numbers COLUMN")
    try:
        known = learn(Catalog.read(options.catalog), options.categories, options.numbers)
        with whole_file(options.out) as draft:
            draft.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")
    except (InputError, OSError) as error:
        parser.error(str(error))
    print(f"{options.out}: {len(known['categories'])} categories, {len(known['numbers'])} numbers")


if __name__ == "__main__":
    main()
