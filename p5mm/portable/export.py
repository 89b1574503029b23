"""A trained model written as what needs no torch."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from p5mm.arrays import SPARSE, write_arrays
from p5mm.errors import InputError
from p5mm.evidence.counts import PAIRS
from p5mm.evidence.pair_values import PairValues
from p5mm.evidence.relations import Relations
from p5mm.evidence.similarity import CONTENT as CONTENT_PART
from p5mm.evidence.similarity import NEIGHBOURS, ItemSimilarity
from p5mm.files import refuse_other_output, whole_folder
from p5mm.model.relation_reader import LEARNED
from p5mm.portable.folder import (
    ARRAYS,
    CONTENT,
    DELETED,
    FACTS,
    FORMAT,
    KIND,
    is_replaceable,
)
from p5mm.portable.networks import write_query_network, write_rank_network
from p5mm.portable.packages import package
from p5mm.portable.settings import Settings, Weights
from p5mm.portable.vectors import Vectors
from p5mm.ranking.candidates import Candidates
from p5mm.ranking.scorer import DECODER, Scorer
from p5mm.ranking.trained_model import TrainedModel
from p5mm.retrieval.index import VectorIndex

BYTES = "SQ8"  # faiss's exact index of bytes


def check_target(folder: Path, force: bool = False) -> None:
    """Refuse to put an exported model where something else is.

    Raises:
        InputError: Something else is there.
    """
    refuse_other_output(folder, is_replaceable, "exported model of p5mm alone", force)


def write_export(
    model: TrainedModel, folder: Path, int8: bool = False, force: bool = False
) -> None:
    """Write what recommending needs, to be run by onnxruntime.

    Args:
        model: Trained; its candidates come from an index.
        folder: New, empty, or an exported model's, which is replaced whole.
        int8: Whether matrices and vectors become bytes: a quarter of the room, a little less true.
        force: Replace whatever else is in the folder.

    Raises:
        InputError: The model cannot be exported, a package is missing, or the folder holds
            something else.
        OSError: It cannot be written.
    """
    import pyarrow.parquet as pq

    for name in ("onnx", "onnxscript", "onnxruntime"):
        package(name)
    check_target(folder, force)
    scorer = _exportable(model)
    settings = _settings(scorer, int8)
    with whole_folder(folder) as draft:
        about = {"kind": KIND, "format": FORMAT, "settings": asdict(settings)}
        (draft / "config.json").write_text(json.dumps(about, indent=2))
        model.catalog.write(draft / "items.parquet")
        pq.write_table(model.taken.table, draft / "interactions.parquet")
        gone = np.array([item in model.deleted for item in model.catalog.item_ids], np.bool_)
        write_arrays(draft / ARRAYS, {**_arrays(scorer, settings), DELETED: gone})
        _index(model, int8).save(draft / "index")
        longest = settings.max_history
        write_query_network(scorer.network, longest, draft / "query.onnx", int8)
        if settings.weights.decoder:
            write_rank_network(
                scorer.network, scorer.asking.prompt, FACTS, len(_relations(scorer).names),
                draft / "rank.onnx", int8,
            )  # fmt: skip


def _exportable(model: TrainedModel) -> Scorer:
    """The scorer of a model that can be exported.

    Raises:
        InputError: The model generates its candidates, or ranks by likeness as on a first day.
    """
    told = "runs by torch alone: p5mm recommend MODEL, without --runtime"
    if model.config.retrieval.generate:
        raise InputError(f"a model that generates its candidates (retrieval.generate) {told}")
    if model.has_likeness:
        raise InputError(f"a model of a shop's first day, which ranks by likeness, {told}")
    return model.scorer


def _relations(scorer: Scorer) -> Relations:
    if scorer.relations is None:
        raise InputError("the model has no relations")
    return scorer.relations


def _similarity(scorer: Scorer) -> ItemSimilarity:
    if scorer.similarity is None:
        raise InputError("the model has no similarities")
    return scorer.similarity


def _settings(scorer: Scorer, int8: bool) -> Settings:
    relations, asking, weights = _relations(scorer), scorer.asking, scorer.weights
    parts = Weights(
        weights.get(DECODER, 0.0),
        weights.get(NEIGHBOURS, 0.0),
        {
            name.removeprefix(CONTENT_PART): weight
            for name, weight in weights.items()
            if name.startswith(CONTENT_PART)
        },
    )
    return Settings(
        asking.max_history, asking.candidates, asking.shortlist, asking.newcomers,
        scorer.network.items.k,
        scorer.network.temperature, scorer.lift, relations.reach, _similarity(scorer).decay,
        asking.rating_scale, parts, tuple(name for name in relations.vectors if name != LEARNED),
        int8,
    )  # fmt: skip


def _arrays(scorer: Scorer, settings: Settings) -> Mapping[str, Any]:
    relations, items = _relations(scorer), scorer.network.items
    vectors = {"tokens": scorer.tokens.flatten(1), "vectors": scorer.vectors}
    vectors |= {CONTENT + name: relations.vectors[name] for name in settings.modalities}
    arrays: dict[str, Any] = {}
    for name, of in vectors.items():
        arrays |= Vectors.of(of.numpy(force=True), settings.int8).arrays(name)
    pairs = PairValues.of([getattr(relations.counts, name) for name in PAIRS])
    arrays |= {f"pairs.{part}": getattr(pairs.places, part) for part in SPARSE}
    arrays |= {"pairs.values": pairs.values, "taken": relations.counts.taken}
    return arrays | {"bias": scorer.bias, "known": scorer.findable, "trained": items.trained}


def _index(model: TrainedModel, int8: bool) -> VectorIndex:
    """The index of the candidates without what is deleted; an exact one in bytes on request."""
    found = model.scorer.candidates
    if not isinstance(found, Candidates):
        raise InputError("the model has no index")
    exact = found.index.factory == "Flat"
    if not model.deleted and not (int8 and exact):
        return found.index
    rows, ids = np.flatnonzero(model.scorer.findable), model.catalog.item_ids
    kind = BYTES if int8 and exact else model.config.retrieval.index
    vectors = np.ascontiguousarray(model.scorer.vectors.numpy()[rows])
    return VectorIndex.build([ids[row] for row in rows.tolist()], vectors, kind)
