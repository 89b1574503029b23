"""An index killed again and again while it is written: python benchmarks/index_kills.py.

A process makes an index of --items items with made vectors, brings it up to changed catalogs,
deletes from it and compacts it, in turn, and is killed (SIGKILL) at a random moment of each. After
every kill the index must hold the items of before or those of after, each once and with its own
vector. Then the same is done once more and left alone: the items of after, and nothing on the disk
that the index does not name. Adds a table to results.md below --runs.
"""

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
from setting import append, commit, machine

from p5mm.config import EncoderConfig
from p5mm.data.catalog import Catalog
from p5mm.indexing.build import build_index
from p5mm.indexing.catalog_index import CatalogIndex
from p5mm.indexing.deletion import compact_index, delete_items
from p5mm.indexing.storage.manifest import is_index, read_manifest

DIM = 16
ENCODERS = EncoderConfig(image="none", text="none", others=("vector:v",))
OPERATIONS = ("index", "update", "delete", "compact")
Items = dict[str, int]  # the version of each


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200, help="in all")
    parser.add_argument("--items", type=int, default=2000)
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    options = parser.parse_args()
    lines = [
        f"\n    python benchmarks/index_kills.py --kills {options.kills} --items {options.items}",
        f"    {commit()}; {machine()}; seed 0\n",
        "| killed during | kills | ended before | old state | new state | lost, left behind |",
        "|---|---|---|---|---|---|",
    ]
    with tempfile.TemporaryDirectory() as folder:
        lines += _table(Path(folder) / "index", options.kills, options.items)
    append("\n".join([*lines, ""]), options.runs)


def _table(out: Path, kills: int, items: int) -> list[str]:
    luck = random.Random(0)
    seconds = dict.fromkeys(OPERATIONS, 0.5)
    counts = {name: dict.fromkeys(("killed", "ended", "old", "new"), 0) for name in OPERATIONS}
    held: Items = {}
    for number in range(10 * kills):
        if sum(of["killed"] for of in counts.values()) == kills:
            break
        name = OPERATIONS[number % len(OPERATIONS)]
        before, after, work = _operation(name, out, held, items, luck)
        killed = _killed(work, luck.random() * 1.1 * seconds[name])
        counts[name]["killed" if killed else "ended"] += 1
        there = _there(out)
        if there not in (before, after):
            raise SystemExit(f"{name} {number}: {len(there)} items, of neither state")
        if killed:
            written = len(read_manifest(out).segments) == 1 if name == "compact" else there == after
            counts[name]["new" if written else "old"] += 1
        start = time.perf_counter()
        if _status(work):
            raise SystemExit(f"{name} {number}: it cannot be finished")
        took = time.perf_counter() - start
        seconds[name] = took if killed else 0.8 * seconds[name]  # else it ends sooner than thought
        held = _there(out)
        if held != after:
            raise SystemExit(f"{name} {number}: finished, and not the state of after")
        _check_nothing_left(out)
    return [f"| {name} | {' | '.join(map(str, of.values()))} | 0 |" for name, of in counts.items()]


def _operation(
    name: str, out: Path, held: Items, items: int, luck: random.Random
) -> tuple[Items, Items, Callable[[], object]]:
    """The states before and after an operation, and what does it."""
    if name == "index":
        shutil.rmtree(out, ignore_errors=True)
        after = {f"i{row}": 0 for row in range(items)}
        return {}, after, partial(build_index, _catalog(after), out, ENCODERS)
    if name == "update":
        after = _changed(held, luck)
        return held, after, partial(build_index, _catalog(after), out, ENCODERS)
    if name == "delete":
        gone = luck.sample(sorted(held), len(held) // 50)
        after = {item: version for item, version in held.items() if item not in gone}
        return held, after, partial(delete_items, out, gone, strict=False)
    return held, held, partial(compact_index, out)


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


def _killed(work: Callable[[], object], seconds: float) -> bool:
    """Do some work in a process of its own and kill it after a while; False where it had ended."""
    child = _begun(work)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def _status(work: Callable[[], object]) -> int:
    return os.waitpid(_begun(work), 0)[1]


def _begun(work: Callable[[], object]) -> int:
    child = os.fork()
    if child:
        return child
    try:
        work()
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)


def _there(out: Path) -> Items:
    """The version of each item of an index, by its name and its vector; nothing without an index.

    Raises:
        SystemExit: An item is there twice, or has another's vector.
    """
    if not is_index(out):
        return {}
    index = CatalogIndex.load(out)
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


def _check_nothing_left(out: Path) -> None:
    beside = sorted(path.name for path in out.parent.iterdir())
    named = {segment.name for segment in read_manifest(out).segments}
    there = {path.name for path in (out / "segments").iterdir()}
    if beside != [out.name] or there != named:
        raise SystemExit(f"left behind: {beside}, segments {sorted(there - named)}")


if __name__ == "__main__":
    main()
