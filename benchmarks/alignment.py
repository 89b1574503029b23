"""What alignment is worth: python benchmarks/alignment.py --data FOLDER.

Pictures and texts by the embedded encoders (from the feature store the second time): the demo's
1,903 stickers, and MovieLens-100K's films with their posters where FOLDER has them. Trains on 80 %
of the pairs and searches the rest, for three splits; each with ridges by cross-validation, as
`p5mm align` does, and with each pair of ridges held.
"""

import argparse
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest import mock

import numpy as np
from views import films, sticker_shop

from p5mm.config import EncoderConfig
from p5mm.encoders import alignment
from p5mm.encoders.alignment import train_alignment
from p5mm.encoders.base import Features
from p5mm.encoders.store import FeatureStore
from p5mm.indexing.encode import encode_catalog


def measure(name: str, image: Features, text: Features) -> None:
    """Print a row for the ridges that are chosen, and one for each that is held."""
    for ridges in (alignment.RIDGES, *((held,) for held in alignment.RIDGES)):
        start = time.perf_counter()
        with mock.patch.object(alignment, "RIDGES", ridges):
            reports = [train_alignment(image, text, seed=seed).report for seed in range(3)]
        seconds = (time.perf_counter() - start) / 3
        first, ten, median = np.mean(
            [(r.recall_at_1, r.recall_at_10, r.median_rank) for r in reports], axis=0
        )
        told = "chosen" if len(ridges) > 1 else "{} {}".format(*ridges[0])
        weak = ", ".join("weak" if report.weak else "not weak" for report in reports)
        print(f"| {name} | {told} | {reports[0].pairs} | {reports[0].held_out} | {first:.3f} | "
              f"{ten:.3f} | {median:.0f} | {weak} | {seconds:.1f} s |", flush=True)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    options = parser.parse_args()
    print("| set | ridges | pairs | held out | first | within ten | median rank | said | time |")
    print("|---" * 9 + "|")
    with TemporaryDirectory() as folder:
        catalogs = {"stickers": sticker_shop(Path(folder))[0]}
        if (options.data / "ml-100k").is_dir():
            catalogs["films"] = films(options.data / "ml-100k")[0]
        for name, catalog in catalogs.items():
            measure(name, *encode_catalog(catalog, EncoderConfig(), FeatureStore()))


if __name__ == "__main__":
    main()
