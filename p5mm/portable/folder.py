"""An exported model on disk: opened without torch, and executed by no one.

config.json               format, and the numbers that the model answers by
items.parquet             the catalog's columns
interactions.parquet      the log: histories of known users
arrays.safetensors        vectors of items, what the log says of pairs, which items are deleted
index/                    the vectors that candidates are found among
query.onnx                a history in, a query out
rank.onnx                 facts and relations in, logits out; where the decoder is weighed
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from p5mm.arrays import SPARSE, Expected, check_names, read_array, read_arrays, square_csr
from p5mm.data.catalog import Catalog, read_items
from p5mm.data.interactions import Interactions
from p5mm.data.tables import read_table
from p5mm.data.users import Users
from p5mm.errors import InputError
from p5mm.evidence.pair_values import PairValues
from p5mm.files import holds_only
from p5mm.plain import check_type, read_json, reading
from p5mm.portable.evidence import Evidence
from p5mm.portable.graph import FLOAT, INT64, REMEDY, Graph
from p5mm.portable.scorer import PortableScorer
from p5mm.portable.settings import Settings, Weights
from p5mm.portable.vectors import Vectors
from p5mm.ranking.candidates import Candidates
from p5mm.ranking.shortlist import Shortlist
from p5mm.retrieval.index import VectorIndex, check_index
from p5mm.steady import read_steadily

KIND = "p5mm exported model"
FORMAT = 2
OURS = {
    "config.json", "items.parquet", "interactions.parquet", "arrays.safetensors", "index",
    "query.onnx", "rank.onnx",
}  # fmt: skip
PAIRS, FACTS = 3, 4  # columns of what is known of a pair, and of a candidate
CONTENT = "content."  # with the modality, the name of an array
ARRAYS, DELETED = "arrays.safetensors", "deleted"


@dataclass(frozen=True)
class PortableModel(Users):
    """An exported model in memory.

    Attributes:
        catalog: All items of the model.
        log: Every interaction.
        deleted: Ids of items that are served no more; histories may hold them.
        scorer: Ranks without torch.
    """

    catalog: Catalog
    log: Interactions
    deleted: frozenset[str]
    scorer: PortableScorer


def is_export(folder: Path) -> bool:
    """Whether a folder is an exported model of any format."""
    try:
        return read_json(folder / "config.json", REMEDY).get("kind") == KIND
    except InputError:
        return False


def is_replaceable(folder: Path) -> bool:
    """Whether there is nothing in a folder but an exported model."""
    return is_export(folder) and holds_only(folder, OURS)


def read_export(folder: Path) -> PortableModel:
    """Read an exported model, as it stood at one moment.

    Raises:
        InputError: It is none, is damaged, or leads out of itself; or a package is missing.
    """
    return read_steadily(folder, _read)


def export_status(folder: str | Path) -> dict[str, Any]:
    """What an exported model is, as plain values; its networks are not opened.

    Raises:
        InputError: It is none of this format, or is damaged.
    """
    folder = Path(folder)
    settings = _read_settings(folder)
    items = len(read_items(folder / "items.parquet", REMEDY))
    deleted = int(_read_deleted(folder, items).sum())
    return {
        "kind": "export",
        "format": FORMAT,
        "items": items - deleted,
        "deleted": deleted,
        "content": list(settings.modalities),
        "decoder": bool(settings.weights.decoder),
        "int8": settings.int8,
        "bytes": sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()),
    }


def _read(folder: Path) -> PortableModel:
    settings = _read_settings(folder)
    catalog = read_items(folder / "items.parquet", REMEDY)
    with reading(folder / "interactions.parquet", REMEDY):
        table = read_table(folder / "interactions.parquet")
        table.validate(full=True)
        log = Interactions.from_table(table)
        log.known(catalog.item_ids)  # there must be some
    rows = np.flatnonzero(_read_deleted(folder, len(catalog)))
    deleted = frozenset(catalog.item_ids[row] for row in rows.tolist())
    return PortableModel(catalog, log, deleted, _read_scorer(folder, settings, catalog))


def _read_deleted(folder: Path, items: int) -> NDArray[np.bool_]:
    """``[items]`` True for the items that are served no more."""
    return read_array(folder / ARRAYS, DELETED, Expected((items,), ("bool",)), REMEDY)


def _read_settings(folder: Path) -> Settings:
    about = read_json(folder / "config.json", REMEDY)
    with reading(folder / "config.json", REMEDY):
        if about.get("kind") != KIND:
            raise InputError("it is no exported model's; p5mm export MODEL --onnx OUT makes one")
        if about.get("format") != FORMAT:
            raise InputError(
                f"it was exported in format {str(about.get('format'))[:20]}; this p5mm reads "
                f"format {FORMAT}"
            )
        given: dict[str, Any] = about.get("settings", {})
        check_type(given, Settings, "settings")
        lists = {name: tuple(given[name]) for name in ("rating_scale", "modalities")}
        weights, short = Weights(**given["weights"]), Shortlist(**given["shortlist"])
        return Settings(**given | lists | {"weights": weights, "shortlist": short})


def _read_scorer(folder: Path, settings: Settings, catalog: Catalog) -> PortableScorer:
    items, path = len(catalog), folder / ARRAYS
    arrays = read_arrays(path, None, REMEDY)
    with reading(path, REMEDY):
        check_names(arrays, dict.fromkeys(array_names(settings)))
        tokens, vectors, content = _read_vectors(arrays, settings, items)
        Expected((items,)).check(arrays["bias"], "bias")
        for name in ("known", "trained"):
            Expected((items,), ("bool",)).check(arrays[name], name)
        known, trained = arrays["known"], arrays["trained"]
        if (known & arrays[DELETED]).any():
            raise InputError("an item is deleted, and known all the same")
        evidence = Evidence(
            _read_pairs(arrays, items), arrays["taken"], content, vectors, settings.reach,
            settings.rating_scale, settings.decay,
        )  # fmt: skip
        Expected((items,), low=0).check(evidence.taken, "taken")
    index = VectorIndex.load(folder / "index")
    with reading(folder / "index", REMEDY):
        check_index(index, [catalog.item_ids[row] for row in np.flatnonzero(known)], vectors.width)
    candidates = Candidates.of(index, vectors[np.arange(items)], known, trained)
    return PortableScorer(
        settings, tokens, vectors, arrays["bias"], known, trained, evidence, candidates,
        *_read_networks(folder, settings, tokens.width),
    )  # fmt: skip


def array_names(settings: Settings) -> list[str]:
    """Names of the arrays of an exported model."""
    vectors = ["tokens", "vectors", *(CONTENT + name for name in settings.modalities)]
    scales = [f"{name}.scale" for name in vectors] if settings.int8 else []
    pairs = ["pairs.values", *(f"pairs.{part}" for part in SPARSE)]
    return [*vectors, *scales, *pairs, "taken", "bias", "known", "trained", DELETED]


def _read_vectors(
    arrays: Mapping[str, NDArray[Any]], settings: Settings, items: int
) -> tuple[Vectors, Vectors, dict[str, Vectors]]:
    """Soft tokens, retrieval vectors, and the content's."""

    def of(name: str) -> Vectors:
        return Vectors.read(arrays, name, items, settings.int8)

    tokens, vectors = of("tokens"), of("vectors")
    if tokens.width != settings.soft_tokens * vectors.width:
        raise InputError(
            f"tokens have {tokens.width} numbers, and must have {settings.soft_tokens} times the "
            f"{vectors.width} of vectors"
        )
    return tokens, vectors, {name: of(CONTENT + name) for name in settings.modalities}


def _read_pairs(arrays: Mapping[str, NDArray[Any]], items: int) -> PairValues:
    values = arrays["pairs.values"]
    Expected((None, PAIRS)).check(values, "pairs.values")
    places = square_csr(arrays, "pairs", items, "int32", 1, len(values) - 1)
    return PairValues(places, values)


def _read_networks(folder: Path, settings: Settings, width: int) -> tuple[Graph, Graph | None]:
    k, relations = settings.soft_tokens, PAIRS + len(settings.modalities) + 2
    shapes = {
        "events": (FLOAT, (None, None, k, width // k)),
        "ratings": (FLOAT, (None, None)),
        "lengths": (INT64, (None,)),
    }
    query = Graph(folder / "query.onnx", shapes, 2)
    if not settings.weights.decoder:
        return query, None
    shapes = {
        "facts": (FLOAT, (None, None, FACTS)),
        "relations": (FLOAT, (None, None, None, relations)),
        "lengths": (INT64, (None,)),
    }
    return query, Graph(folder / "rank.onnx", shapes, 2)
