"""What encoding a catalog costs beside the model's bare forward, and an unchanged one again.

    python benchmarks/encoding.py [--pictures 600] [--spec open_clip]

"open_clip" stands for a ViT-B-32 with random weights: the same work as the real one, no download.
Budgets: at most 1.15 x the forward on ready tensors; unchanged again at least 50 x faster.
"""

import argparse
import os
import platform
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from p5mm.encoders.build import make_encoder
from p5mm.encoders.encode import BATCH, encode_items
from p5mm.encoders.load import default_workers
from p5mm.encoders.store import FeatureStore

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


def encoder_of(spec: str):
    if spec != "open_clip":
        return make_encoder(spec, "image")
    import open_clip

    from p5mm.encoders.clip import CLIPImage

    torch.manual_seed(SEED)
    return CLIPImage(open_clip.create_model("ViT-B-32"))


def seconds(call) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=int, default=600)
    parser.add_argument("--spec", nargs="+", default=["embedded", "open_clip"])
    args = parser.parse_args()
    print(f"encoding: {args.pictures} JPEGs of 400 x 400, batch {BATCH}, seed {SEED}")
    print(
        f"{platform.machine()}, {os.cpu_count()} CPUs, torch {torch.__version__}, "
        f"{torch.get_num_threads()} threads, load {os.getloadavg()[0]:.1f}\n"
    )
    print("| encoder | bare forward | encode_items | ratio | in one process | unchanged | faster |")
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        paths = write_pictures(Path(name), args.pictures)
        for spec in args.spec:
            print(row(spec, paths, Path(name) / "store"), flush=True)


def row(spec: str, paths: list[Path], folder: Path) -> str:
    encoder = encoder_of(spec)
    ready = [encoder.load(path) for path in paths]
    batches = [ready[start : start + BATCH] for start in range(0, len(ready), BATCH)]
    encoder.encode(batches[0])
    bare = workers = alone = float("inf")
    for _ in range(2):  # the better of two, in turns: other work comes and goes
        bare = min(bare, seconds(lambda: [encoder.encode(batch) for batch in batches]))
        workers = min(workers, seconds(lambda: encode_items(encoder, spec, paths)))
    alone = seconds(lambda: encode_items(encoder, spec, paths, workers=0))
    store = FeatureStore(folder)
    full = seconds(lambda: encode_items(encoder, spec, paths, store))
    again = seconds(lambda: encode_items(encoder, spec, paths, store))
    count = default_workers(encoder, len(paths))
    return (
        f"| {spec} | {bare:.1f} s | {workers:.1f} s ({count} workers) | {workers / bare:.2f} | "
        f"{alone:.1f} s | {1000 * again:.0f} ms | {full / again:.0f} x |"
    )


if __name__ == "__main__":
    main()
