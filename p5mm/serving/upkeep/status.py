"""What a model is, told without reading its weights."""

from pathlib import Path
from typing import Any

from p5mm.data.catalog import read_items
from p5mm.indexing.status import bytes_in
from p5mm.plain import read_json, reading
from p5mm.ranking.scorer import DECODER
from p5mm.retrieval.index import read_about
from p5mm.serving.checks import read_settings
from p5mm.serving.folder import check_form
from p5mm.serving.since import REMEDY, read_counts
from p5mm.steady import read_steadily


def model_status(folder: str | Path) -> dict[str, Any]:
    """What a model is, as plain values; its weights are not read.

    Raises:
        InputError: The folder is no model of this format, or a file in it is missing or broken.
    """
    return read_steadily(folder, _read_status)


def _read_status(folder: Path) -> dict[str, Any]:
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    check_form(folder)
    path = folder / "config.json"
    about = read_json(path, REMEDY)
    with reading(path, REMEDY):
        config, fitted, fingerprints = read_settings(about)
    log = folder / "interactions.parquet"
    with reading(log, REMEDY):
        users = pq.read_table(log, columns=["user_id"])["user_id"]
    since = read_counts(folder, about)
    likeness = fitted.likeness or not config.train.epochs  # ranks in the place of the weights
    weights = {name: of for name, of in fitted.weights.items() if of and not likeness}
    generates = config.retrieval.generate
    return {
        "kind": "model",
        "format": about["p5mm"],
        "items": len(read_items(folder / "items.parquet", REMEDY)) - since["deleted"],
        "items_in_log": len(fitted.items) if config.train.epochs else 0,
        "interactions": len(users),
        "users": pc.count_distinct(users).as_py(),
        "since": since,
        "content": fingerprints,
        "epochs": len(fitted.log),
        "validation": fitted.tried,
        "decoder": bool(weights.get(DECODER)),
        "reranker": weights,
        "likeness": likeness,
        "first_day": not config.train.epochs,
        "index": None if generates else _index_status(folder / "index" / "index.json"),
        "bytes": bytes_in(folder),
    }


def _index_status(path: Path) -> dict[str, Any]:
    about = read_about(path)
    return {"index": about["factory"], "items": about["items"], "recall@100": about["recall@100"]}
