"""A shop whose items are like one another in groups, and the road that each example takes."""

import csv
import importlib
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from p5mm.commands.main import main
from p5mm.serving.recommender import Recommender

FOLDER = Path(__file__).parents[2] / "examples"
GROUPS, EACH = 3, 4


@pytest.fixture(scope="module")
def example() -> Iterator[Callable[[str], ModuleType]]:
    """Imports an example as a user does in its folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(FOLDER)
        yield importlib.import_module


class Shop:
    """A folder with a catalog of groups of like items, one broken item, and a log.

    Args:
        folder: Of the shop.
        columns: Of the catalog, beside ``item_id``.
        cells: The cells of an item, by its group and its number in it.
        broken: The cells of the item "broken".
    """

    def __init__(
        self,
        folder: Path,
        columns: Sequence[str],
        cells: Callable[[int, int], Sequence[Any]],
        broken: Sequence[Any],
    ) -> None:
        self.folder = folder
        items = [(f"g{g}n{n}", *cells(g, n)) for g in range(GROUPS) for n in range(EACH)]
        self.write("catalog.csv", ["item_id", *columns], [*items, ("broken", *broken)])
        rng = np.random.default_rng(0)
        rows = [
            (f"u{user}", f"g{user % GROUPS}n{n}", time)
            for user in range(30)
            for time, n in enumerate(rng.permutation(EACH))
        ]
        self.write("interactions.csv", ["user_id", "item_id", "timestamp"], rows)

    def write(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        with open(self.folder / name, "w", newline="", encoding="utf-8") as out:
            csv.writer(out).writerows([columns, *rows])

    def index(self, spec: str, *more: str) -> Path:
        """The index by one encoder alone."""
        out = self.folder / "index"
        catalog = str(self.folder / "catalog.csv")
        towers = ["--image-encoder", "none", "--text-encoder", "none"]
        code = main(["index", catalog, "--out", str(out), "--encoder", spec, *towers, *more])
        assert code == 0
        return out

    def again(self, spec: str, *more: str, capsys: pytest.CaptureFixture[str]) -> str:
        """What a second run of `index` says of the items."""
        capsys.readouterr()
        self.index(spec, *more)
        return capsys.readouterr().err.split("\n")[0]

    def like(self, item: str, capsys: pytest.CaptureFixture[str]) -> list[str]:
        """The items of `index` that are most like one."""
        capsys.readouterr()
        assert main(["search", str(self.folder / "index"), "--item", item, "--json"]) == 0
        return [hit["item_id"] for hit in json.loads(capsys.readouterr().out)]

    def train(self, spec: str, *more: str) -> Recommender:
        """One epoch of the default model, with one encoder alone."""
        out = self.folder / "model"
        towers = ["--encoders.image", "none", "--encoders.text", "none"]
        small = ["--train.epochs", "1", "--model.d_model", "32"]
        given = ["--data", str(self.folder), "--out", str(out), "--encoders.others", f"[{spec!r}]"]
        assert main(["train", "default", *given, *towers, *small, *more]) == 0
        return Recommender.load(out)


@pytest.fixture
def shop(tmp_path: Path) -> Callable[..., Shop]:
    return lambda *given: Shop(tmp_path, *given)


def reason(quarantine: Path) -> str:
    import pyarrow.parquet

    (row,) = pyarrow.parquet.read_table(quarantine).to_pylist()
    assert row["item_id"] == "broken"
    return row["reason"]


@pytest.fixture
def why_broken() -> Callable[[Path], str]:
    """The reason that an index keeps for the one value that it refused."""
    return lambda index: reason(index / "quarantine.parquet")
