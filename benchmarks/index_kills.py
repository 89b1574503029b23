"""An index killed again and again while it is written: python benchmarks/index_kills.py.

A process makes an index of --items items with made vectors, brings it up to changed catalogs,
deletes from it and compacts it, in turn, and is killed (SIGKILL) at a random moment of each. After
every kill the index must hold the items of before or those of after, each once and with its own
vector. Then the same is done once more and left alone: the items of after, and nothing on the disk
that the index does not name. Adds a table to results.md below --runs.
"""

import argparse
import random
import shutil
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
from killing import HEAD, Operation, rows_of_kills
from setting import append, commit, machine

from p5mm.config import EncoderConfig
from p5mm.data.catalog import Catalog
from p5mm.indexing.build import build_index
from p5mm.indexing.catalog_index import CatalogIndex
from p5mm.indexing.deletion import compact_index, delete_items
from p5mm.indexing.storage.manifest import is_index, read_manifest

DIM = 16
ENCODERS = EncoderConfig(image="none", text="none", others=("vector:v",))
Items = dict[str, int]  # the version of each


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100, help="in all")
    parser.add_argument("--items", type=int, default=2000)
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    options = parser.parse_args()
    lines = [
        f"\n    python benchmarks/index_kills.py --kills {options.kills} --items {options.items}",
        f"    {commit()}; {machine()}; seed 0\n",
        *HEAD,
    ]
    with tempfile.TemporaryDirectory() as folder:
        living = LivingIndex(Path(folder) / "index", options.items)
        lines += rows_of_kills(living, options.kills, random.Random(0))
    append("\n".join([*lines, ""]), options.runs)


class LivingIndex:
    """An index; its state is the version of each item.

    Args:
        out: Its folder, the only thing in the folder above.
        items: How many it has when it is made.
    """

    operations = ("index", "update", "delete", "compact")

    def __init__(self, out: Path, items: int) -> None:
        self._out = out
        self._items = items

    def operation(self, name: str, luck: random.Random) -> Operation:
        """The next of a name."""
        out, held = self._out, self.there()
        if name == "index":
            shutil.rmtree(out, ignore_errors=True)
            after = {f"i{row}": 0 for row in range(self._items)}
            return Operation({}, after, partial(build_index, _catalog(after), out, ENCODERS))
        if name == "update":
            after = _changed(held, luck)
            return Operation(held, after, partial(build_index, _catalog(after), out, ENCODERS))
        if name == "delete":
            gone = luck.sample(sorted(held), len(held) // 50)
            after = {item: version for item, version in held.items() if item not in gone}
            return Operation(held, after, partial(delete_items, out, gone, strict=False))
        return Operation(held, held, partial(compact_index, out))

    def there(self) -> Items:
        """The version of each item, by its name and its vector; nothing without an index.

        Raises:
            SystemExit: An item is there twice, or has another's vector.
        """
        if not is_index(self._out):
            return {}
        index = CatalogIndex.load(self._out)
        names = index.catalog.table["name"].to_pylist()
        made = index.features["v"]
        if len(set(index.item_ids)) < len(index.item_ids) or not made.present.all():
            raise SystemExit("an item is there twice, or has no vector")
        if [name.split()[0] for name in names] != list(index.item_ids):
            raise SystemExit("an item has the name of another")
        if not np.array_equal(made.vectors, np.stack([_vector(name) for name in names])):
            raise SystemExit("an item has the vector of another")
        versions = [int(name.split()[1]) for name in names]
        return dict(zip(index.item_ids, versions, strict=True))

    def is_done(self, name: str, asked: Operation) -> bool:
        """Whether an operation that was killed had come to its end."""
        if name == "compact":
            return len(read_manifest(self._out).segments) == 1
        return bool(self.there() == asked.after)

    def check_nothing_left(self) -> None:
        """End the benchmark where there is a file that the index does not name."""
        out = self._out
        beside = sorted(path.name for path in out.parent.iterdir())
        named = {segment.name for segment in read_manifest(out).segments}
        there = {path.name for path in (out / "segments").iterdir()}
        if beside != [out.name] or there != named:
            raise SystemExit(f"left behind: {beside}, segments {sorted(there - named)}")


def _changed(held: Items, luck: random.Random) -> Items:
    """Of a catalog 2 % removed, 5 % changed, 3 % new."""
    made = {item: version for item, version in held.items() if luck.random() > 0.02}
    for item in luck.sample(sorted(made), len(made) // 20):
        made[item] += 1
    return made | {f"n{luck.getrandbits(40)}": 0 for _ in range(len(held) * 3 // 100)}


def _catalog(items: Items) -> Catalog:
    names = [f"{item} {version}" for item, version in items.items()]
    vectors = pa.array([_vector(name) for name in names], pa.list_(pa.float32()))
    return Catalog.from_table(pa.table({"item_id": list(items), "name": names, "v": vectors}))


def _vector(name: str) -> np.ndarray:
    return np.random.default_rng(list(name.encode())).normal(size=DIM).astype(np.float32)


if __name__ == "__main__":
    main()
