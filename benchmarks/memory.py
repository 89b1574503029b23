"""The most memory that indexing a catalog of pictures takes: python benchmarks/memory.py.

Small JPEGs, all different, are written into a tar, and `p5mm index` of it runs in a process of its
own, with a feature store of its own. The colour encoder of examples/ stands for any: it takes less
than a millisecond a picture, and its vectors have 64 numbers. What grows with the pictures is what
is held of each. Adds a table to results.md below --runs.
"""

import argparse
import io
import os
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image
from setting import ROOT, append, commit, machine

SIDE, SPEC = 64, "colour_encoder:ColourEncoder"
COMMAND = """
import resource, sys
from p5mm.commands.main import main
code = main(sys.argv[1:])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
sys.exit(code)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--encoder", default=SPEC)
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    options = parser.parse_args()
    lines = [
        f"\n    python benchmarks/memory.py --encoder {options.encoder}",
        f"    {commit()}; {machine()}; JPEGs of {SIDE} x {SIDE}\n",
        "| pictures | their bytes | most memory | a picture more | seconds | unchanged |",
        "|---|---|---|---|---|---|",
    ]
    before = (0, 0)
    for count in sorted(options.pictures):
        with tempfile.TemporaryDirectory() as folder:
            cells, before = _row(Path(folder), count, options.encoder, before)
        lines.append(f"| {' | '.join(cells)} |")
        print(lines[-1], file=sys.stderr, flush=True)
    append("\n".join([*lines, ""]), options.runs)


def _row(
    folder: Path, count: int, encoder: str, before: tuple[int, int]
) -> tuple[list[str], tuple[int, int]]:
    """The cells of a row; and how many pictures took how many bytes, for the next."""
    shard = folder / "pictures.tar"
    write_shard(shard, count)
    peak, seconds = _indexed(folder, shard, encoder)
    again, _ = _indexed(folder, shard, encoder)
    more = (peak - before[1]) / (count - before[0]) if before[0] else None
    cells = [
        f"{count:,}", f"{shard.stat().st_size / 2**20:,.0f} MiB", f"{peak / 2**20:,.0f} MiB",
        "" if more is None else f"{more / 2**10:.2f} KiB", f"{seconds:.0f}",
        f"{again / 2**20:,.0f} MiB",
    ]  # fmt: skip
    return cells, (count, peak)


def write_shard(path: Path, count: int) -> None:
    """Pictures of blots in random colours."""
    random = np.random.default_rng(0)
    with tarfile.open(path, "w") as tar:
        for number in range(count):
            blots = Image.fromarray(random.integers(0, 256, (4, 4, 3), dtype=np.uint8))
            kept = io.BytesIO()
            blots.resize((SIDE, SIDE)).save(kept, "JPEG")
            member = tarfile.TarInfo(f"{number:06}.jpg")
            member.size = kept.tell()
            kept.seek(0)
            tar.addfile(member, kept)


def _indexed(folder: Path, shard: Path, encoder: str) -> tuple[int, float]:
    """Bytes of memory at most, and seconds."""
    paths = [str(ROOT), str(ROOT / "examples")]
    around = os.environ | {"P5MM_CACHE": str(folder / "store"), "PYTHONPATH": ":".join(paths)}
    given = ["--image-encoder", encoder] if encoder == "embedded" else [
        "--image-encoder", "none", "--encoder", encoder
    ]  # fmt: skip
    asked = ["index", str(shard), "--out", str(folder / "index"), *given]
    start = time.perf_counter()
    run = subprocess.run(
        [sys.executable, "-c", COMMAND, *asked], capture_output=True, text=True, env=around
    )
    if run.returncode:
        raise SystemExit(run.stderr)
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * int(run.stdout.split()[-1]), time.perf_counter() - start


if __name__ == "__main__":
    main()
