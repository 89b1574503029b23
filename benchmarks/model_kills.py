"""A trained model killed again and again while it is written: python benchmarks/model_kills.py.

A small shop with made pictures is trained once. Then items are added by their pictures (some new,
some with another picture, some that had been deleted), items are deleted and interactions join, in
turn, each in a process that is killed (SIGKILL) at a random moment. Before that the same is done to
a copy and left alone. After every kill the model must recommend and be, file by file, what it was
before or what the copy is; then the same is done once more and left alone: the files of the copy,
and nothing else beside or within. Adds a table to results.md below --runs.
"""

import argparse
import io
import logging
import os
import random
import shutil
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from hashlib import blake2b
from pathlib import Path

import faiss
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from killing import HEAD, Operation, rows_of_kills, status
from PIL import Image
from setting import ROOT, append, commit, machine

from p5mm.config import Config, EncoderConfig, ModelConfig, TrainConfig
from p5mm.data.catalog import Catalog
from p5mm.data.dataset import Dataset
from p5mm.data.interactions import Interactions
from p5mm.encoders.store import FeatureStore
from p5mm.serving.recommender import Recommender
from p5mm.serving.upkeep.addition import add_to_model
from p5mm.serving.upkeep.deletion import delete_from_model
from p5mm.serving.upkeep.rows import read_model_rows
from p5mm.serving.upkeep.update import update_model
from p5mm.training.fit import fit

COLOURS, LONGEST = "colour_encoder:ColourEncoder", 12
Files = dict[str, str]  # the digest of each


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100, help="in all")
    parser.add_argument("--items", type=int, default=300)
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    options = parser.parse_args()
    sys.path.append(str(ROOT / "examples"))
    logging.disable()
    torch.set_num_threads(1)  # a process that was forked from one with more of them hangs
    faiss.omp_set_num_threads(1)
    lines = [
        f"\n    python benchmarks/model_kills.py --kills {options.kills} --items {options.items}",
        f"    {commit()}; {machine()}; seed 0\n",
        *HEAD,
    ]
    luck = random.Random(0)
    with tempfile.TemporaryDirectory() as folder:
        living = LivingModel(Path(folder), options.items, luck)
        lines += rows_of_kills(living, options.kills, luck)
    append("\n".join([*lines, ""]), options.runs)


class LivingModel:
    """A model; its state is all that is in its folder.

    Args:
        folder: Empty; it is trained there.
        items: How many it is trained on.
        luck: Draws pictures and histories.
    """

    operations = ("add", "delete", "update")

    def __init__(self, folder: Path, items: int, luck: random.Random) -> None:
        self._out, self._copy = folder / "model" / "model", folder / "copy" / "model"
        self._given, self._store = folder / "given.parquet", folder / "store"
        ids = [f"i{row}" for row in range(items)]
        self._train(_catalog(ids, luck), _log([f"u{row}" for row in range(items)], ids, luck))

    def operation(self, name: str, luck: random.Random) -> Operation:
        """The next of a name; what it comes to is seen at a copy."""
        work = getattr(self, f"_{name}")(luck)
        before = self.there()
        shutil.copytree(self._out, self._copy)
        if status(partial(work, self._copy)):
            raise SystemExit(f"{name}: it cannot be done")
        after = _state(self._copy)
        shutil.rmtree(self._copy.parent)
        return Operation(before, after, partial(work, self._out))

    def there(self) -> Files:
        """All that is in the folder now."""
        return _state(self._out)

    def is_done(self, name: str, asked: Operation) -> bool:
        """Whether an operation that was killed had come to its end."""
        return bool(self.there() == asked.after)

    def check_nothing_left(self) -> None:
        """End the benchmark where there is something beside the model."""
        beside = sorted(path.name for path in self._out.parent.iterdir())
        if beside != [self._out.name]:
            raise SystemExit(f"left behind: {beside}")

    def _train(self, catalog: Catalog, log: Interactions) -> None:
        config = Config(
            encoders=EncoderConfig(image="none", text="none", others=(COLOURS,)),
            model=ModelConfig(d_model=32, layers=1, max_history=LONGEST),
            train=TrainConfig(epochs=2, tasks={"sequential": 1.0}),
        )
        made = fit(Dataset(catalog, log, log), config, FeatureStore(self._store))
        Recommender(made).save(self._out)

    def _add(self, luck: random.Random) -> Callable[[Path], object]:
        """Of the items 3 % are new, 3 % have another picture, and half of the deleted come back."""
        rows = read_model_rows(self._out)
        many = len(rows.item_ids) * 3 // 100
        back = sorted(rows.since.deleted_of(rows.item_ids))[::2]
        ids = {f"n{luck.getrandbits(40)}" for _ in range(many)}.union(
            luck.sample(rows.item_ids, many), back
        )
        pq.write_table(_catalog(sorted(ids), luck).table, self._given)
        return partial(_added, self._given, self._store)

    def _delete(self, luck: random.Random) -> Callable[[Path], object]:
        """Of the items 2 %."""
        ids = read_model_rows(self._out).item_ids
        gone = luck.sample(ids, len(ids) // 50)
        return lambda folder: delete_from_model(folder, gone, strict=False)

    def _update(self, luck: random.Random) -> Callable[[Path], object]:
        """Users, of whom half are new, take some items."""
        ids = read_model_rows(self._out).item_ids
        users = [f"u{row}" for row in range(10)] + [f"v{luck.getrandbits(40)}" for _ in range(10)]
        pq.write_table(_log(users, ids, luck, 1000).table, self._given)
        return lambda folder: update_model(folder, self._given)


def _added(given: Path, store: Path, folder: Path) -> None:
    # The copy has a store of its own: what was killed finds nothing encoded that it did not encode.
    os.environ["P5MM_CACHE"] = str(store.with_name(f"store of {folder.parent.name}"))
    add_to_model(folder, Catalog.read(given))


def _catalog(ids: list[str], luck: random.Random) -> Catalog:
    return Catalog.from_table(pa.table({"item_id": ids, "image": [_picture(luck) for _ in ids]}))


def _picture(luck: random.Random) -> bytes:
    """A picture of 8 x 8 blots of a few colours."""
    colours = np.frombuffer(luck.randbytes(3 * 6), np.uint8).reshape(6, 3)
    blots = np.frombuffer(luck.randbytes(64), np.uint8).reshape(8, 8) % 6
    kept = io.BytesIO()
    Image.fromarray(colours[blots]).save(kept, "PNG")
    return kept.getvalue()


def _log(users: list[str], ids: list[str], luck: random.Random, start: int = 0) -> Interactions:
    return Interactions.from_rows(
        [
            (user, item, start + time)
            for user in users
            for time, item in enumerate(luck.sample(ids, luck.randrange(5, LONGEST)))
        ]
    )


def _state(folder: Path) -> Files:
    """The digest of every file of a model, and of what it recommends.

    Raises:
        InputError: It is no whole model.
    """
    state = {
        path.relative_to(folder).as_posix(): blake2b(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    table = Recommender.load(folder).recommend(users=[f"u{row}" for row in range(20)], k=10)
    return state | {"recommends": repr(table.to_pylist())}


if __name__ == "__main__":
    main()
