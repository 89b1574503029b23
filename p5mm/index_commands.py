"""What ``p5mm index``, ``p5mm search`` and ``p5mm align`` do."""

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from p5mm.catalog import Catalog
from p5mm.catalog_index import CatalogIndex, Hit
from p5mm.config import EncoderConfig
from p5mm.encoders.store import FeatureStore
from p5mm.encoding import encode_catalog
from p5mm.errors import InputError
from p5mm.index_folder import check_target


def index(
    catalog: str | Path,
    out: str | Path,
    images: str | Path | None = None,
    image_encoder: str = "embedded",
    text_encoder: str = "embedded",
    encoders: Sequence[str] = (),
    text: Sequence[str] | None = None,
    workers: int = -1,
    align: bool = False,
) -> CatalogIndex:
    """Encodes a catalog and writes its index; see `p5mm.catalog_index`.

    Args:
        catalog: A table, or a folder of pictures.
        out: The index folder; new, empty, or an index to replace.
        images: Folder of the pictures.
        image_encoder: Spec of the encoder of the catalog's pictures.
        text_encoder: Spec of the encoder of the catalog's texts.
        encoders: Specs of any further encoders.
        text: Text columns; all where None.
        workers: Processes that load pictures; -1 chooses by the machine.
        align: Whether to train the heads that let text find pictures.

    Raises:
        InputError: As the message says.
    """
    start = time.perf_counter()
    check_target(out)
    items = Catalog.read(catalog, images=images, text=text)
    config = EncoderConfig(image_encoder, text_encoder, tuple(encoders), workers)
    features = encode_catalog(items, config, FeatureStore())
    made = CatalogIndex.build(items, features)
    if align:
        made = _aligned(made, seed=0)
    made.save(out)
    _say(_summary(made), f"{out}: done in {time.perf_counter() - start:.1f} s")
    return made


def search(
    index: str | Path,
    text: str | None = None,
    image: str | Path | bytes | None = None,
    item: str | None = None,
    k: int = 10,
    as_json: bool = False,
) -> list[Hit]:
    """Prints the best items of an index for exactly one of a text, a picture, and an item.

    Args:
        index: The index folder.
        text: What to look for, in words.
        image: What to look for, a picture.
        item: What to look for, an item of the index.
        k: How many.
        as_json: JSON on stdout and nothing else, instead of a table.

    Raises:
        InputError: None or several of them are given, or as the search says.
    """
    opened, given = CatalogIndex.load(index), (text, image, item)
    match given:
        case (str(), None, None):
            hits = opened.search_text(given[0], k)
        case (None, str() | Path() | bytes(), None):
            hits = opened.search_picture(given[1], k)
        case (None, None, str()):
            hits = opened.search_item(given[2], k)
        case _:
            raise InputError('give exactly one of --text "...", --image FILE and --item ID')
    if as_json:
        print(json.dumps([asdict(hit) for hit in hits]))
    else:
        print(_table(hits, opened.catalog))
    return hits


def align(index: str | Path, seed: int = 0) -> CatalogIndex:
    """Adds to an index the joint view in which text finds pictures.

    Raises:
        InputError: The index has no pictures or texts, or too few items with both.
    """
    start = time.perf_counter()
    made = _aligned(CatalogIndex.load(index), seed)
    made.save(index)
    _say(f"{index}: done in {time.perf_counter() - start:.1f} s")
    return made


def _aligned(made: CatalogIndex, seed: int) -> CatalogIndex:
    _say("aligning pictures and texts (seconds for a thousand pairs)")
    aligned = made.align(seed)
    assert aligned.alignment is not None
    _say(str(aligned.alignment.report))
    return aligned


def _summary(made: CatalogIndex) -> str:
    counts = ", ".join(
        f"{int(one.present.sum()):,} {one.modality} vectors" for one in made.features.values()
    )
    lines = [f"{len(made.catalog):,} items: {counts}; searched by {', '.join(made.views)}"]
    empty = len(made.catalog) - int(made.present.sum())
    if empty:
        lines.append(f"{empty:,} items without any vector are found by no search")
    if made.quarantine:
        lines.append(f"{len(made.quarantine):,} values in quarantine (quarantine.parquet), first:")
        lines += [f"  {bad.item_id} ({bad.modality}): {bad.reason}" for bad in made.quarantine[:5]]
    return "\n".join(lines)


def _table(hits: Sequence[Hit], catalog: Catalog) -> str:
    width = max((len(hit.item_id) for hit in hits), default=0)
    return "\n".join(
        f"{hit.rank:>3}  {hit.score:6.3f}  {hit.item_id:<{width}}  "
        f"{catalog.titles[catalog.rows[hit.item_id]]}"
        for hit in hits
    )


def _say(*lines: str) -> None:
    print(*lines, sep="\n", file=sys.stderr)
