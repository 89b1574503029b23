"""A toy model in which every part of a score counts, and its exports; tracing takes seconds."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from p5mm.portable.export import write_export
from p5mm.portable.recommender import PortableRecommender
from p5mm.ranking.trained_model import TrainedModel
from p5mm.serving.recommender import Recommender

pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")


@pytest.fixture(scope="session")
def whole(toy: TrainedModel) -> TrainedModel:
    """With fewer candidates than items, new items lifted, and some histories rated."""
    weights = {"decoder": 0.7, "neighbours": 2.0, "content.style": 0.5}
    retrieval = replace(toy.config.retrieval, candidates=14)
    cold = replace(toy.config.cold, candidates=1)
    fitted = replace(toy.fitted, weights=weights, handicap=1.5, lift=0.5)
    config = replace(toy.config, retrieval=retrieval, cold=cold)
    return replace(toy, config=config, fitted=fitted)


@pytest.fixture(scope="session")
def by_torch(whole: TrainedModel) -> Recommender:
    return Recommender(whole)


@pytest.fixture(scope="session")
def exported(whole: TrainedModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported") / "whole"
    write_export(whole, folder)
    return folder


@pytest.fixture(scope="session")
def in_bytes(whole: TrainedModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported") / "bytes"
    write_export(whole, folder, int8=True)
    return folder


@pytest.fixture(scope="session")
def by_onnx(exported: Path) -> PortableRecommender:
    return PortableRecommender.load(exported)


def rows_of(table) -> dict[str, list[tuple[str, float]]]:
    """Items and scores of each user, in order."""
    found: dict[str, list[tuple[str, float]]] = {}
    for row in table.to_pylist():
        found.setdefault(row["user_id"], []).append((row["item_id"], row["score"]))
    return found


@pytest.fixture(scope="session")
def agree():
    """Checks that two tables say the same: scores to 1e-4, items but for ties."""

    def check(one, other, within=1e-4):
        assert one.schema == other.schema
        left, right = rows_of(one), rows_of(other)
        assert list(left) == list(right)
        assert one["rank"].to_pylist() == other["rank"].to_pylist()
        for user, best in left.items():
            scores = np.array([score for _, score in best])
            others = np.array([score for _, score in right[user]])
            np.testing.assert_allclose(scores, others, atol=within)
            of = dict(best)
            for item, score in right[user]:  # an item that only one has ties with the last
                assert abs(of.get(item, scores[-1]) - score) <= 2 * within

    return check
