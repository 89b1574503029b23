"""Which view should answer words: python benchmarks/views.py --data FOLDER.

Words are the categories of the demo's stickers and the genres of MovieLens-100K's films; an item
with that label is right. Of some share of the items the text is known, and the alignment is trained
on these pairs. Texts are given with the label among them and without. Encoders: embedded.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from p5mm.config import EncoderConfig
from p5mm.data.catalog import Catalog
from p5mm.demo.stickers import draw_pictures, stickers, write_catalog
from p5mm.encoders.store import FeatureStore
from p5mm.indexing.catalog_index import CatalogIndex
from p5mm.indexing.encode import encode_catalog
from p5mm.indexing.query import VIEWS

SHARES = (1.0, 0.75, 0.5, 0.25, 0.1)
FEWEST = 20  # items that a label must have


def sticker_shop(folder: Path) -> tuple[Catalog, list[set[str]]]:
    items = stickers()
    draw_pictures(folder, items)
    catalog = Catalog.read(write_catalog(folder, items), text=["name", "keywords", "category"])
    return catalog, [{item.category.lower()} for item in items]


def films(data: Path) -> tuple[Catalog, list[set[str]]]:
    table = Catalog.read(data / "items.tsv").table
    genres = [set((text or "").lower().split("|")) - {""} for text in table["genres"].to_pylist()]
    words = pa.array([", ".join(sorted(labels)) for labels in genres])
    place = table.column_names.index("genres")
    catalog = Catalog.from_table(
        table.set_column(place, "genres", words), data / "posters", ["title", "overview", "genres"]
    )
    return catalog, genres


def measured(index: CatalogIndex, labels: Sequence[set[str]], view: str) -> tuple[float, float]:
    """Precision at 10, and among as many hits as there are right ones; means over the labels."""
    counts = {name: sum(name in of for of in labels) for name in set().union(*labels)}
    right = dict(zip(index.item_ids, labels, strict=True))
    at_10, at_all = [], []
    for name, count in sorted(counts.items()):
        if count >= FEWEST:
            hits = [name in right[hit.item_id] for hit in index.search_text(name, count, view)]
            at_10.append(np.mean(hits[:10]))
            at_all.append(sum(hits) / count)
    return float(np.mean(at_10)), float(np.mean(at_all))


def with_texts(index: CatalogIndex, known: NDArray[np.bool_]) -> CatalogIndex:
    """The same index where only some texts are known, aligned on these."""
    text = index.features["text"]
    made = replace(text, present=text.present & known)
    return CatalogIndex.build(index.catalog, [index.features["image"], made]).align()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    options = parser.parse_args()
    print("| set | label in the text | share with a text | " + " | ".join(
        f"{view} p@10 | {view} of all" for view in VIEWS) + " |")  # fmt: skip
    print("|---" * (3 + 2 * len(VIEWS)) + "|")
    with TemporaryDirectory() as folder:
        sets = {"stickers": sticker_shop(Path(folder)), "films": films(options.data / "ml-100k")}
        for name, (catalog, labels) in sets.items():
            for told in (True, False):
                texts = catalog.text if told else catalog.text[:2]
                part = replace(catalog, text=texts)
                features = encode_catalog(part, EncoderConfig(), FeatureStore())
                whole = CatalogIndex.build(part, features)
                for share in SHARES:
                    rows = [
                        [measured(index, labels, view) for view in VIEWS]
                        for seed in options.seeds
                        for index in [with_texts(
                            whole, np.random.default_rng(seed).random(len(part)) < share)]
                    ]  # fmt: skip
                    cells = " | ".join(f"{x:.2f}" for x in np.mean(rows, axis=0).ravel())
                    print(f"| {name} | {'yes' if told else 'no'} | {share:.0%} | {cells} |",
                          flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
