"""What encoding a catalog costs beside the model's bare forward, a DataLoader, and once more.

    python benchmarks/encoding.py [--pictures 200] [--spec open_clip]

"open_clip" stands for a ViT-B-32 with random weights: the same work as the real one, no download.
The DataLoader is torch's, with a worker a core: its batches go through the same model, and nothing
is kept or checked. Unchanged is the same catalog again, whose vectors are kept.
On a machine with other work the ratio of CPU seconds says more than that of wall time.
Budgets: at most 1.10 x the forward on ready tensors, and less than the DataLoader; unchanged again
at least 50 x faster.
"""

import argparse
import os
import platform
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.utils.data import DataLoader

from p5mm.encoders.base import Encoder
from p5mm.encoders.build import make_encoder
from p5mm.encoders.encode import BATCH, encode_items
from p5mm.encoders.store import FeatureStore
from p5mm.encoders.values.loading import default_workers

SEED = 0


def write_pictures(folder: Path, count: int) -> list[Path]:
    """JPEGs of 400 x 400, smooth with some noise, about 40 kB each."""
    random = np.random.default_rng(SEED)
    paths = [folder / f"{i}.jpg" for i in range(count)]
    for path in paths:
        grid = random.integers(0, 256, (16, 16, 3), dtype=np.uint8)
        smooth = np.asarray(Image.fromarray(grid).resize((400, 400), Image.Resampling.BICUBIC))
        noisy = smooth.astype(np.int16) + random.integers(-12, 13, smooth.shape)
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(path, quality=85)
    return paths


def encoder_of(spec: str) -> Encoder:
    if spec != "open_clip":
        return make_encoder(spec, "image")
    import open_clip

    from p5mm.encoders.clip import CLIPImage

    torch.manual_seed(SEED)
    return CLIPImage(open_clip.create_model("ViT-B-32"))


def cost(call: Callable[[], object]) -> NDArray[np.float64]:
    """Wall seconds, and CPU seconds of this process and its workers."""
    start, before = time.perf_counter(), sum(os.times()[:4])
    call()
    return np.array([time.perf_counter() - start, sum(os.times()[:4]) - before])


def plain(encoder: Encoder, paths: list[Path]) -> None:
    """What one writes without p5mm: vectors are made and forgotten."""
    loader = DataLoader(
        paths,  # type: ignore[arg-type]
        batch_size=BATCH,
        num_workers=os.cpu_count() or 1,
        collate_fn=lambda batch: [encoder.load(path) for path in batch],
    )
    for batch in loader:
        encoder.encode(batch)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pictures", type=int, default=200)
    parser.add_argument("--spec", nargs="+", default=["embedded", "open_clip"])
    parser.add_argument("--repeats", type=int, default=2)
    args = parser.parse_args()
    print(f"encoding: {args.pictures} JPEGs of 400 x 400, batch {BATCH}, seed {SEED}")
    print(
        f"{platform.machine()}, {os.cpu_count()} CPUs, torch {torch.__version__}, "
        f"{torch.get_num_threads()} threads, load {os.getloadavg()[0]:.1f}\n"
    )
    print(
        "| encoder | bare forward | encode_items | wall ratio | CPU ratio | DataLoader "
        "| in one process | unchanged | faster |\n|---|---|---|---|---|---|---|---|---|"
    )
    with tempfile.TemporaryDirectory() as name:
        paths = write_pictures(Path(name), args.pictures)
        for spec in args.spec:
            print(row(spec, paths, Path(name) / spec.replace(":", "_"), args.repeats), flush=True)


def row(spec: str, paths: list[Path], folder: Path, repeats: int) -> str:
    encoder = encoder_of(spec)
    ready = [encoder.load(path) for path in paths]
    batches = [ready[start : start + BATCH] for start in range(0, len(ready), BATCH)]
    encoder.encode(batches[0])
    bare = items = loop = np.array([np.inf, np.inf])
    for turn in range(repeats):  # in turns, and the best: other work comes and goes
        store = FeatureStore(folder / str(turn))
        bare = np.minimum(bare, cost(lambda: [encoder.encode(batch) for batch in batches]))
        items = np.minimum(items, cost(lambda: encode_items(encoder, spec, paths, store)))  # noqa: B023
        loop = np.minimum(loop, cost(lambda: plain(encoder, paths)))
    alone = cost(lambda: encode_items(encoder, spec, paths, workers=0))
    again = cost(lambda: encode_items(encoder, spec, paths, store))
    workers = default_workers(encoder, len(paths))
    wall, cpu = items / bare
    faster = items[0] / again[0]
    return (
        f"| {spec} | {bare[0]:.1f} s | {items[0]:.1f} s ({workers} workers) "
        f"| {wall:.2f} | {cpu:.2f} | {loop[0]:.1f} s | {alone[0]:.1f} s "
        f"| {1000 * again[0]:.0f} ms | {faster:.0f} x |"
    )


if __name__ == "__main__":
    main()
