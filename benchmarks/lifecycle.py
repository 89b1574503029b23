"""What it costs to keep an index true: 100 pictures into 100,000, others out, beside encoding.

    python benchmarks/lifecycle.py [--items 100000] [--new 100] [--rounds 3]

The index is of as many small JPEG files, whose vectors are made up and lie in the feature store;
the new pictures are drawn stickers. The bare encoding makes the encoder, loads and encodes the same
pictures, and keeps nothing. An update is the command `p5mm index` without the start of Python: it
reads the catalog's folder, makes the encoder, compares, encodes and writes. Rounds begin with the
one and with the other in turn. Seconds of the clock, and of the processor. Prints one block.
"""

import argparse
import io
import os
import platform
import resource
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from p5mm.commands.main import main as main_command
from p5mm.data.catalog import Catalog
from p5mm.demo.stickers import draw_pictures, stickers
from p5mm.encoders.build import make_encoder
from p5mm.encoders.encode import encode_items
from p5mm.encoders.store import FeatureStore
from p5mm.encoders.values.content import content_keys
from p5mm.indexing.catalog_index import CatalogIndex
from p5mm.indexing.deletion import compact_index, delete_items
from p5mm.indexing.status import index_status


def main() -> None:
    """Make an index, change it, and print what each change took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--new", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["P5MM_CACHE"] = str(folder / "cache")
        lines = measured(folder, given.items, given.new, given.rounds)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print("\n".join([*heading(given), "", *lines, f"most memory: {peak:.1f} GiB"]))


def measured(folder: Path, items: int, new: int, rounds: int) -> list[str]:
    """One line a change."""
    pictures, out = folder / "pictures", folder / "index"
    write_pictures(pictures, items)
    make_up_vectors(pictures)
    made, same = timed(partial(updated, pictures, out)), timed(partial(updated, pictures, out))
    lines = [
        "seconds of the clock / of the processor",
        f"{items:,} pictures whose vectors are known, a first index: {told(made)}",
        f"the same again, unchanged: {told(same)}",
    ]
    ratios = []
    for number, batch in enumerate(batches(folder, new, rounds)):
        for path in batch:
            shutil.copy(path, pictures / "000" / path.name)
        steps = {"bare": partial(encoded, batch), "ours": partial(updated, pictures, out)}
        order = ["bare", "ours"] if number % 2 else ["ours", "bare"]
        took = {name: timed(steps[name]) for name in order}
        ratios.append([took["ours"][i] / took["bare"][i] for i in range(2)])
        lines.append(
            f"{new} new: ours {told(took['ours'])}, bare encoding {told(took['bare'])}: "
            f"{ratios[-1][0]:.2f} x, {ratios[-1][1]:.2f} x"
        )
    middle = np.median(ratios, axis=0)
    lines.append(f"ours over bare encoding: {middle[0]:.2f} x, {middle[1]:.2f} x (must: 1.5 x)")
    lines.append(f"of ours, reading the folder: {told(timed(partial(Catalog.read, pictures)))}")
    ids = [f"{row // 1000:03}/{row:06}" for row in range(0, items, max(1, items // new))]
    for name, step in {
        f"{len(ids)} deleted": partial(delete_items, out, ids),
        "opened with its segments": partial(CatalogIndex.load, out),
        "compacted": partial(compact_index, out),
        "opened as one segment": partial(CatalogIndex.load, out),
    }.items():
        lines.append(f"{name}: {told(timed(step))}")
    lines.append(f"on the disk: {index_status(out)['bytes'] / 1e9:.2f} GB")
    return lines


def write_pictures(folder: Path, items: int) -> None:
    """Small JPEG files, each with bytes of its own, a thousand a folder."""
    coded = io.BytesIO()
    Image.effect_mandelbrot((96, 96), (-2, -1.5, 1, 1.5), 50).save(coded, "JPEG")
    for row in range(items):
        path = folder / f"{row // 1000:03}" / f"{row:06}.jpg"
        if row % 1000 == 0:
            path.parent.mkdir(parents=True)
        path.write_bytes(coded.getvalue() + str(row).encode())


def make_up_vectors(pictures: Path) -> None:
    """Put a vector of every picture into the feature store."""
    encoder = make_encoder("embedded", "image")
    table = FeatureStore().table(encoder.fingerprint, encoder.dim)
    keys = [key for key in content_keys(sorted(pictures.rglob("*.jpg"))) if key is not None]
    rng = np.random.default_rng(0)
    for start in range(0, len(keys), 10_000):
        some = keys[start : start + 10_000]
        table.put(some, rng.normal(size=(len(some), encoder.dim)).astype(np.float32))


def batches(folder: Path, new: int, rounds: int) -> list[list[Path]]:
    """Drawn pictures, as many a round; the first encoding of a process is not measured."""
    draw_pictures(folder / "drawn", stickers(new * rounds))
    drawn = sorted((folder / "drawn" / "pictures").iterdir())
    encoded(drawn[:32])
    return [drawn[start::rounds][:new] for start in range(rounds)]


def encoded(pictures: Sequence[Path]) -> None:
    """Encode pictures and keep nothing."""
    encode_items(make_encoder("embedded", "image"), "embedded", pictures)


def updated(pictures: Path, out: Path) -> None:
    """Bring an index up to a folder of pictures.

    Raises:
        RuntimeError: The command failed.
    """
    if main_command(["index", str(pictures), "--out", str(out)]):
        raise RuntimeError("p5mm index failed; see above")


def timed(run: Callable[[], object]) -> tuple[float, float]:
    """Seconds that a call takes: of the clock, and of the processor."""
    start = time.perf_counter(), time.process_time()
    run()
    return time.perf_counter() - start[0], time.process_time() - start[1]


def told(seconds: tuple[float, float]) -> str:
    """Both times in words."""
    return f"{seconds[0]:.2f} / {seconds[1]:.2f} s"


def heading(given: argparse.Namespace) -> list[str]:
    """Command, commit and machine."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    return [
        f"    python benchmarks/lifecycle.py --items {given.items} --new {given.new} "
        f"--rounds {given.rounds}",
        f"    {commit}, {platform.processor() or platform.machine()}, {os.cpu_count()} cores, "
        f"load {os.getloadavg()[0]:.1f}",
    ]


if __name__ == "__main__":
    main()
