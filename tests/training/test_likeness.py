"""Likeness after a training: it stays where a log teaches less, and goes where it teaches more."""

from dataclasses import replace

import numpy as np
import pytest

from p5mm.data.dataset import Dataset
from p5mm.data.interactions import Interactions
from p5mm.evaluation.direct import Asked
from p5mm.evaluation.model_report import evaluate_model
from p5mm.ranking.first_day import FirstDay
from p5mm.serving.recommender import Recommender
from p5mm.training.calibration import beside_likeness
from p5mm.training.fit import fit


@pytest.fixture(scope="module")
def unlearned(toys):
    """People who keep to one ring in no order, and a training that learned nothing of it."""
    rng = np.random.default_rng(0)
    rows = [
        (f"u{user}", toys.ring_item(user % toys.RINGS, int(step)), time, 3.0)
        for user in range(60)
        for time, step in enumerate(rng.permutation(toys.STEPS)[:5])
    ]
    log = Interactions.from_rows(rows)
    config = toys.toy_config(epochs=1, learning_rate=1e-9, tasks={})
    return fit(Dataset(toys.toy_catalog(), log, log), config)


def test_it_stays_where_nothing_was_learned(unlearned, tmp_path):
    assert unlearned.fitted.likeness
    assert isinstance(unlearned.scorer, FirstDay)
    report = evaluate_model(unlearned, baselines=("popularity",))
    assert list(report.models) == ["p5mm", "retriever", "popularity"]
    ndcg = {name: of["ndcg@10"].value for name, of in report.models.items()}
    assert ndcg["p5mm"] > 1.5 * ndcg["popularity"]
    kept = Recommender(unlearned)
    kept.save(tmp_path / "model")
    again = Recommender.load(tmp_path / "model")
    assert again.recommend(k=4).equals(kept.recommend(k=4))
    told = again.explain(again.recommend(["u1"], k=1)["item_id"][0].as_py(), "u1")
    assert set(told.parts) == {"retriever", "words"}


def test_it_goes_where_more_was_learned(toys, fitted):
    """Which step of a ring comes next no likeness tells."""
    assert not fitted.fitted.likeness
    assert not isinstance(fitted.scorer, FirstDay)


def test_without_content_there_is_none(unlearned):
    bare = unlearned.content.ablated(dict.fromkeys(unlearned.content.present, "zero"))
    model = replace(unlearned, content=bare, fitted=replace(unlearned.fitted, likeness=False))
    assert not beside_likeness(model).fitted.likeness


def test_the_decoder_is_asked_what_it_was_trained_on(fitted):
    """Likeness has wider vectors, and other logits: nothing that a decoder has learned to read."""
    alike = replace(fitted, fitted=replace(fitted.fitted, likeness=True), saved_index=None)
    cases = fitted.split.cases("test")
    candidates = np.tile(np.arange(6), (len(cases), 1))
    asked = [Asked.of(of, of.questions("direct"), None) for of in (fitted, alike)]
    one, other = (of.choose(cases.histories, candidates) for of in asked)
    np.testing.assert_allclose(one, other, atol=1e-5)
