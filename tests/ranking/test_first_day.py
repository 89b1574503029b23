"""The first day: base, modalities and words count alike, and nobody's purchases do."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
import torch

from p5mm.data.catalog import Catalog
from p5mm.data.dataset import Dataset
from p5mm.data.histories import Histories
from p5mm.errors import InputError
from p5mm.evaluation.ablation import ablated, ablated_rankers
from p5mm.evaluation.model_report import evaluate_model
from p5mm.evidence.words import Words
from p5mm.model.content import Content
from p5mm.pretraining.pretrain import pretrain
from p5mm.ranking.first_day import FADING, FirstDay
from p5mm.ranking.scorer import Scorer
from p5mm.serving.recommender import Recommender
from p5mm.training.fit import fit


@pytest.fixture(scope="module")
def model(toys, tmp_path_factory):
    folder = tmp_path_factory.mktemp("base") / "base"
    pretrain({"toy": toys.toy_dataset()}, toys.toy_config(epochs=2, tasks={})).write(folder)
    config = toys.toy_config(epochs=0)
    config = replace(config, model=replace(config.model, base=str(folder)))
    return fit(toys.toy_dataset(), config)


def histories(*rows):
    return Histories.joined(
        [Histories(np.array(row, dtype=np.int64), np.array([0, len(row)])) for row in rows]
    )


def cosines(unit, history):
    weights = FADING ** np.arange(len(history))[::-1]
    wanted = weights @ unit[history]
    return unit @ wanted / max(np.linalg.norm(wanted), 1e-12)


def naive(model, history):
    """The sum of the cosines of the base's vectors, of each modality's, and of the words."""
    network = model.network
    tokens = network.items()
    base = network.vectors(tokens).detach().numpy()
    asked = Scorer.encode(model.scorer, histories(history))
    read = network.encode(tokens, model.scorer.batch(histories(history))).last.detach().numpy()[0]
    total = base @ read + cosines(Words.of(model.catalog.raw("text")).matrix.toarray(), history)
    for vectors in model.content.vectors.values():
        unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        total = total + cosines(unit, history)
    assert asked.memory.shape[0] == 1
    return total


@torch.inference_mode()
def test_each_counts_alike(model):
    scorer, history = model.scorer, [3, 7, 9, 4]
    assert isinstance(scorer, FirstDay)
    wanted = naive(model, history)
    asked = histories(history)
    rows = torch.arange(len(model.catalog))[None]
    found = scorer.rerank(scorer.encode(asked), asked, rows)[0].numpy()
    parts = 1 + len(model.content.dims)
    np.testing.assert_allclose(found * parts * model.network.temperature, wanted, atol=1e-4)


def test_the_best_come_first_and_a_batch_equals_one(model):
    asked = [[3, 7, 9, 4], [1], [20, 21]]
    rows, scores = model.scorer.rank(histories(*asked), 5, never=histories(*asked))
    for line, history in enumerate(asked):
        wanted = naive(model, history)
        wanted[history] = -np.inf
        assert set(rows[line]) == set(np.argsort(-wanted)[:5])
        one, alone = model.scorer.rank(histories(history), 5, never=histories(history))
        np.testing.assert_array_equal(one[0], rows[line])
        np.testing.assert_allclose(alone[0], scores[line], atol=1e-4)


def test_who_brings_nothing_gets_something(model):
    rows, scores = model.scorer.rank(histories([]), 4)
    assert (rows >= 0).all()
    assert np.isfinite(scores).all()


def test_without_texts_words_have_no_say(model):
    content = replace(
        model.content, present=model.content.present | {"text": np.zeros(len(model.catalog), bool)}
    )
    scorer = FirstDay.beginning(model.network, model.scorer.asking, content, model.catalog)
    assert not scorer.weights
    assert len(scorer.dims) == len(model.scorer.dims) - 1


def test_nothing_known_is_said(model):
    ids = model.catalog.item_ids
    bare = Catalog.from_table(pa.table({"item_id": pa.array(ids)}))
    with pytest.raises(InputError, match="no item has a picture, a text or a vector"):
        FirstDay.beginning(model.network, model.scorer.asking, Content(len(ids)), bare)


def test_shuffled_texts_have_no_words(model):
    scorer = ablated(model, {"text": "shuffled"}).scorer
    assert not scorer.weights
    assert set(ablated(model, {"style": "zero"}).scorer.weights) == {"words"}


def test_an_evaluation_leaves_out_what_knows_nothing(model):
    names = [f"p5mm, {of} {how}" for of in ("text", "style") for how in ("zero", "shuffled")]
    assert list(ablated_rankers(model)) == names
    alone = ablated(model, {"style": "zero"})
    assert list(ablated_rankers(alone)) == ["p5mm, text shuffled"]
    report = evaluate_model(alone, baselines=("popularity",), ablate=True)
    assert list(report.models) == ["p5mm", "retriever", "popularity", "p5mm, text shuffled"]


def test_items_with_texts_join_a_catalog_without(toys, model, tmp_path):
    """Nothing is known of the words of the first; the second are found by what both have."""
    table = toys.toy_catalog().table
    bare = Dataset(Catalog.from_table(table.drop_columns(["title"])), *[model.log] * 2)
    config = replace(model.config, train=replace(model.config.train, epochs=0))
    pretrain({"toy": toys.toy_dataset()}, toys.toy_config(epochs=1, tasks={})).write(tmp_path / "b")
    config = replace(config, model=replace(config.model, base=str(tmp_path / "b")))
    shop = Recommender(fit(bare, config))
    style = next(style for style in table["style"].to_pylist() if style)
    rows = [{"item_id": "new1", "title": "ring0 step9", "style": style}]
    grown = shop.add_items(Catalog.from_table(pa.Table.from_pylist(rows)))
    found = grown.recommend(histories=[[table["item_id"][0].as_py()]], k=40)
    assert "new1" in found["item_id"].to_pylist()
    grown.save(tmp_path / "model")
    loaded = Recommender.load(tmp_path / "model")
    assert loaded.recommend(k=3).equals(grown.recommend(k=3))


def test_wide_vectors_are_kept_in_one_index(model):
    found = model.scorer.candidates
    assert found.new.index is found.index
