"""The toy shop's model without its texts or styles, and models trained so."""

import importlib
from dataclasses import replace

import numpy as np
import pytest
import torch

from p5mm.data.catalog import Catalog
from p5mm.errors import InputError
from p5mm.evaluation.ablation import ablated, ablated_rankers
from p5mm.evaluation.model_report import evaluate_model
from p5mm.model.build import build_network
from p5mm.model.content import Content
from p5mm.serving.recommender import Recommender
from p5mm.training.fit import fit

NAMES = ["text zero", "text shuffled", "style zero", "style shuffled"]


@pytest.fixture(scope="module")
def histories(fitted):
    return fitted.split.cases("test").histories


def trained(toys, **ablate):
    config = toys.toy_config(epochs=1, tasks={})
    config = replace(config, encoders=replace(config.encoders, ablate=ablate))
    return fit(toys.toy_dataset(), config)


def without(model, name):
    """By hand: a network of the model's weights whose items lack a modality."""
    old = model.content
    there = old.present | {name: np.zeros(old.items, np.bool_)}
    junk = old.vectors | {name: np.full_like(old.vectors[name], 7.0)}
    content = Content(old.items, junk, there, old.fingerprints, old.maps)
    trained = model.network.items.trained
    prior = model.network.rating_prior
    network = build_network(model.config.model, content, trained, model.network.t5, prior)
    network.load_state_dict(model.network.state_dict())
    # ItemSimilarity reads vectors only, so theirs are blank where they are absent.
    blank = replace(content, vectors=old.vectors | {name: np.zeros_like(old.vectors[name])})
    return replace(model, content=blank, network=network.eval())


@pytest.mark.parametrize("name", ["text", "style"])
def test_zero_equals_a_model_whose_items_lack_the_modality(fitted, histories, name):
    expected = without(fitted, name).scorer.among(fitted.rows).scores(histories)
    scores = ablated_rankers(fitted)[f"p5mm, {name} zero"].scores(histories)
    np.testing.assert_allclose(scores, expected, atol=1e-4)
    assert np.abs(scores - fitted.scorer.among(fitted.rows).scores(histories)).max() > 0.1


@pytest.mark.parametrize("how", ["zero", "shuffled"])
def test_a_batch_equals_each_alone(fitted, histories, how):
    ranker = ablated_rankers(fitted)[f"p5mm, style {how}"]
    together = ranker.scores(histories)
    for row in (0, 17, 41):
        alone = ranker.scores(histories.select(np.array([row])))
        np.testing.assert_allclose(together[row], alone[0], atol=1e-4)


def test_real_is_the_model_itself(fitted, histories):
    twin = ablated(fitted, {"text": "real"})
    expected = fitted.scorer.among(fitted.rows).scores(histories)
    np.testing.assert_array_equal(twin.scorer.among(fitted.rows).scores(histories), expected)


def test_weights_are_shared_and_the_model_given_stays(fitted):
    before = Recommender(fitted).recommend(k=4)
    content = {name: vectors.copy() for name, vectors in fitted.content.vectors.items()}
    twin = ablated(fitted, {"text": "zero", "style": "shuffled"})
    Recommender(twin).recommend(k=4)
    ours, theirs = dict(fitted.network.named_parameters()), dict(twin.network.named_parameters())
    assert ours.keys() == theirs.keys()
    assert all(ours[name] is theirs[name] for name in ours)
    for name, vectors in content.items():
        np.testing.assert_array_equal(fitted.content.vectors[name], vectors)
        buffer = getattr(fitted.network.items, f"content_{name}")
        np.testing.assert_array_equal(buffer.numpy(), vectors)
    assert fitted.network.items.present.any(dim=0).tolist() == [True, True]
    assert twin.network.items.present.any(dim=0).tolist() == [False, True]
    assert Recommender(replace(fitted)).recommend(k=4).equals(before)


def test_an_item_known_by_content_alone_is_unknown_without_it(fitted):
    nothing = ablated(fitted, {"text": "zero", "style": "zero"})
    assert not nothing.network.items.known[nothing.catalog.rows["cold"]]
    items = Recommender(nothing).recommend(histories=[["r0s1"]], k=99)["item_id"].to_pylist()
    assert "cold" not in items
    assert len(items) == 39


def test_shuffled_hides_which_item_looks_like_which(fitted):
    twin = ablated(fitted, {"text": "shuffled", "style": "shuffled"})
    table = Recommender(twin).similar_items(["cold"], k=1)
    assert Recommender(fitted).similar_items(["cold"], k=1)["item_id"].to_pylist() == ["r0s4"]
    assert table["score"][0].as_py() < 0.999


def test_the_report_has_each_modality_with_paired_differences(fitted):
    report = evaluate_model(fitted, "test", None, ["popularity"], ablate=True)
    names = [f"p5mm, {name}" for name in NAMES]
    assert list(report.models) == ["p5mm", "similarities", "retriever", "popularity", *names]
    differences = report.to_json()["differences"]
    for name in names:
        difference = differences[f"p5mm - {name}"]["ndcg@10"]
        mean = (report.per_user["p5mm"]["ndcg@10"] - report.per_user[name]["ndcg@10"]).mean()
        assert difference["low"] <= difference["value"] == pytest.approx(mean)
        assert name in report.table()
    plain = evaluate_model(fitted, "test", None, ["popularity"])
    assert list(plain.models) == ["p5mm", "similarities", "retriever", "popularity"]
    np.testing.assert_array_equal(plain.per_user["p5mm"]["mrr"], report.per_user["p5mm"]["mrr"])


@pytest.mark.parametrize(
    ("ablate", "message"),
    [
        ({"image": "zero"}, "unknown modality to ablate 'image'.*Allowed: style, text"),
        ({"text": "zeroed"}, "unknown ablation of 'text' 'zeroed'; did you mean 'zero'"),
    ],
)
def test_an_unknown_ablation_is_an_error_that_names_the_known(fitted, ablate, message):
    with pytest.raises(InputError, match=message):
        ablated(fitted, ablate)


def test_an_ablated_model_is_saved_and_grows(fitted, toys, tmp_path):
    twin = ablated(fitted, {"text": "zero", "style": "shuffled"})
    Recommender(twin).save(tmp_path / "m")
    loaded = Recommender.load(tmp_path / "m")
    assert loaded.recommend(k=4).equals(Recommender(twin).recommend(k=4))
    again = loaded.model
    assert again.config.encoders.ablate == {"text": "zero", "style": "shuffled"}
    new = Catalog.from_table(toys.toy_catalog().table.slice(4, 1).set_column(0, "item_id", [["n"]]))
    grown = loaded.add_items(new).model
    assert grown.network.items.present[-1].tolist() == [False, True]
    known = again.content.vectors["style"][again.content.present["style"]]
    assert (grown.content.vectors["style"][-1] == known).all(axis=1).any()


def test_training_without_a_modality(toys, tmp_path):
    model = trained(toys, text="zero", style="shuffled")
    assert not model.content.present["text"].any()
    assert model.content.fingerprints["style"].endswith(":shuffled")
    assert set(ablated_rankers(model)) == {"p5mm, style zero", "p5mm, style shuffled"}
    Recommender(model).save(tmp_path / "m")
    again = Recommender.load(tmp_path / "m")
    assert again.recommend(k=4).equals(Recommender(model).recommend(k=4))


def test_training_by_ids_alone_ranks(toys):
    model = trained(toys, text="zero", style="zero")
    items = model.network.items
    residual = torch.unflatten(items.residual.weight, -1, (items.k, -1))
    expected = residual * items.trained[:, None, None]
    torch.testing.assert_close(items(), expected)
    assert Recommender(model).recommend(k=2).num_rows == 2 * len(model.user_ids)


def test_no_training_goes_on_with_the_checkpoint_of_another(toys, monkeypatch):
    fit_module = importlib.import_module("p5mm.training.fit")
    keys, key = [], fit_module.training_key
    monkeypatch.setattr(fit_module, "training_key", lambda *a: keys.append(key(*a)) or keys[-1])
    for ablate in ({}, {"text": "zero"}, {"text": "shuffled"}, {"style": "shuffled"}):
        trained(toys, **ablate)
    assert len(set(keys)) == 4


def test_training_refuses_a_modality_that_nobody_has(toys):
    with pytest.raises(InputError, match="Allowed: style, text"):
        trained(toys, image="zero")
